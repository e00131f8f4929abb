/**
 * Changes of who has which prefix, handed on together when all of a turn of the event loop are known: a
 * list of thousands is one change, and what goes from one peer to another is none.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";

export interface PrefixChange {
  readonly prefix: Prefix;
  /** Whether it is somebody's now. */
  readonly isThere: boolean;
}

export class PrefixChanges {
  readonly #apply: (changed: ReadonlyMap<string, PrefixChange>) => void;
  #changed = new Map<string, PrefixChange>();
  #isClosed = false;

  /** @param apply Takes the last change of each prefix, by its text. It throws nothing. */
  constructor(apply: (changed: ReadonlyMap<string, PrefixChange>) => void) {
    this.#apply = apply;
  }

  add(prefix: Prefix, isThere: boolean): void {
    if (this.#changed.size === 0) queueMicrotask(() => this.#handOn());
    this.#changed.set(`${prefix}`, { prefix, isThere });
  }

  /** Nothing is handed on any more. */
  close(): void {
    this.#isClosed = true;
  }

  #handOn(): void {
    const changed = this.#changed;
    this.#changed = new Map();
    if (!this.#isClosed) this.#apply(changed);
  }
}
