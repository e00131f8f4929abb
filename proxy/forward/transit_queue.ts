/**
 * The flows of one owner that pass through, in the order in which they are given up.
 *
 * @module
 */

import type { TransitFlow } from "./transit_flow.ts";

/** So many get a second chance before one is given up, however busy all are. */
const CHANCES = 8;

/**
 * A clock, and not a list by last use: that would have to be kept at every packet. A flow that was used
 * since it was last looked at goes to the end instead of being given up.
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

  /** The one to give up: idle longest, or nearly so. */
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
