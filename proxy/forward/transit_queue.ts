/**
 * The flows of one owner that pass through, in the order of eviction.
 *
 * @module
 */

import type { TransitFlow } from "./transit_flow.ts";

/** At most this many get a second chance before one is evicted, however busy all are. */
const CHANCES = 8;

/**
 * Second-chance (CLOCK) eviction, because a list by last use would have to be updated for every packet. A
 * flow that was used since it was last looked at goes to the end instead of being evicted.
 */
export class TransitQueue {
  oldest: TransitFlow | undefined;
  #newest: TransitFlow | undefined;

  add(transit: TransitFlow): void {
    transit.older = this.#newest;
    transit.newer = undefined;
    if (this.#newest === undefined) this.oldest = transit;
    else this.#newest.newer = transit;
    this.#newest = transit;
    transit.seenAt = transit.lastActivity;
  }

  remove(transit: TransitFlow): void {
    const { older, newer } = transit;
    if (older === undefined) this.oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    transit.older = transit.newer = undefined;
  }

  /** The one to evict: idle longest, or nearly so. */
  idlest(): TransitFlow | undefined {
    for (let i = 0; i < CHANCES; i++) {
      const { oldest } = this;
      if (oldest === undefined || oldest.lastActivity === oldest.seenAt) break;
      this.remove(oldest);
      this.add(oldest);
    }
    return this.oldest;
  }
}
