/**
 * Names whose addresses are always known: resolved in the background, and again whenever their TTL is
 * over.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { After, Names } from "./names.ts";

export interface NameWatchOptions {
  readonly names: Names;
  /** Milliseconds, monotonic. */
  now(): number;
  readonly after: After;
  /** A name has other addresses now, or has been found for the first time. */
  changed(name: string, addresses: readonly IpAddress[]): void;
}

/** The least time between two look-ups of a name, ms. */
const LEAST_MS = 1_000;

export class NameWatch {
  readonly #options: NameWatchOptions;
  /** What cancels the timer or look-up of each name. */
  readonly #watched = new Map<string, () => void>();
  readonly #known = new Map<string, readonly IpAddress[]>();

  constructor(options: NameWatchOptions) {
    this.#options = options;
  }

  /** Watches these names and no others. */
  set(names: ReadonlySet<string>): void {
    for (const [name, stop] of this.#watched) {
      if (names.has(name)) continue;
      stop();
      this.#watched.delete(name);
      this.#known.delete(name);
    }
    for (const name of names) if (!this.#watched.has(name)) this.#look(name);
  }

  /** Of a watched name; none while it is not known. */
  addresses(name: string): readonly IpAddress[] {
    return this.#known.get(name) ?? [];
  }

  close(): void {
    this.set(new Set());
  }

  #look(name: string): void {
    const { names, now, after } = this.#options;
    const found: IpAddress[] = [];
    let isDone = false;
    const lookup = names.resolve(name, {
      found: (addresses, isLast) => {
        found.push(...addresses);
        isDone = isLast;
        if (!isLast) return;
        this.#learn(name, found);
        const wait = Math.max(LEAST_MS, names.renewAt(name) - now());
        this.#watched.set(name, after(wait, () => this.#look(name)));
      },
    });
    if (!isDone) this.#watched.set(name, () => lookup.cancel());
  }

  #learn(name: string, addresses: readonly IpAddress[]): void {
    const known = this.#known.get(name);
    const isSame = known?.length === addresses.length &&
      addresses.every((address) => known.some((other) => other.equals(address)));
    if (isSame) return;
    this.#known.set(name, addresses);
    this.#options.changed(name, addresses);
  }
}
