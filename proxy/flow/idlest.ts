/**
 * Which of an owner's flows or sessions has been idle longest, when that is asked again and again
 * because all is full.
 *
 * @module
 */

import type { FlowOwner } from "./flow.ts";

/** How many a walk through all finds: as many may be ended before the next. */
const FOUND = 64;

export interface IdlestOptions<T> {
  readonly all: Iterable<T>;
  /** Whether one may be found for an owner. */
  isOf(item: T, owner: FlowOwner): boolean;
  /** When something last moved, ms: never less than before, and of what begins no less than of others. */
  activityOf(item: T): number;
  /** Whether it is still there. */
  isLive(item: T): boolean;
}

interface Found<T> {
  readonly item: T;
  /** When it was found. */
  readonly lastActivity: number;
}

export class Idlest<T> {
  readonly #options: IdlestOptions<T>;
  #owner: FlowOwner | undefined;
  /** The most idle at the end. What was not found has not been idle for as long, nor will be. */
  readonly #found: Found<T>[] = [];

  constructor(options: IdlestOptions<T>) {
    this.#options = options;
  }

  /** @returns undefined if there is none. */
  of(owner: FlowOwner): T | undefined {
    if (owner === this.#owner) {
      const item = this.#stillIdle();
      if (item !== undefined) return item;
    }
    this.#owner = owner;
    this.#find(owner);
    return this.#found.at(-1)?.item;
  }

  /** The most idle of those that were found, live still, and have not moved since. */
  #stillIdle(): T | undefined {
    const found = this.#found;
    const { isLive, activityOf } = this.#options;
    for (let last; (last = found.at(-1)) !== undefined; found.pop()) {
      const { item, lastActivity } = last;
      if (isLive(item) && activityOf(item) === lastActivity) return item;
    }
    return undefined;
  }

  #find(owner: FlowOwner): void {
    const found = this.#found;
    const { all, isOf, activityOf } = this.#options;
    found.length = 0;
    for (const item of all) {
      if (!isOf(item, owner)) continue;
      const lastActivity = activityOf(item);
      if (found.length === FOUND) {
        if (lastActivity >= found[0]!.lastActivity) continue;
        found.shift();
      }
      let at = found.length;
      while (at > 0 && found[at - 1]!.lastActivity <= lastActivity) at--;
      found.splice(at, 0, { item, lastActivity });
    }
  }
}
