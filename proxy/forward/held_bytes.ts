/**
 * The memory held by packets that wait for their target's name to be resolved.
 *
 * @module
 */

import type { FlowOwner } from "../flow/flow.ts";

/** What all flows of a gateway hold, and each peer's part of it. */
export class HeldBytes {
  readonly #max: number;
  readonly #owners = new Map<FlowOwner, number>();
  #total = 0;

  /** @param max Bytes in all. One peer gets at most half, so there is always room for another. */
  constructor(max = 2 << 20) {
    this.#max = max;
  }

  /** @returns whether it was taken: only if the peer then has no more than is left for the others. */
  take(owner: FlowOwner, bytes: number): boolean {
    const own = this.#owners.get(owner) ?? 0;
    if (own + bytes > this.#max - this.#total - bytes) return false;
    this.#total += bytes;
    this.#owners.set(owner, own + bytes);
    return true;
  }

  give(owner: FlowOwner, bytes: number): void {
    this.#total -= bytes;
    const own = this.#owners.get(owner)! - bytes;
    if (own > 0) this.#owners.set(owner, own);
    else this.#owners.delete(owner);
  }
}
