/**
 * Fair shares of a limited resource. A single owner may use all of it; at the limit, an owner below an
 * equal share takes from the owner that has most.
 *
 * @module
 */

import type { FlowOwner } from "./flow.ts";

export class Shares {
  readonly #counts = new Map<FlowOwner, number>();
  #total = 0;

  /** In use, of all owners. */
  get total(): number {
    return this.#total;
  }

  of(owner: FlowOwner): number {
    return this.#counts.get(owner) ?? 0;
  }

  /** Those that have any. */
  owners(): FlowOwner[] {
    return [...this.#counts.keys()];
  }

  take(owner: FlowOwner): void {
    this.#total++;
    this.#counts.set(owner, this.of(owner) + 1);
  }

  give(owner: FlowOwner): void {
    this.#total--;
    const count = this.of(owner) - 1;
    if (count > 0) this.#counts.set(owner, count);
    else this.#counts.delete(owner);
  }

  /** The owner that has most, and so is furthest above its share. */
  greediest(): FlowOwner | undefined {
    let found: FlowOwner | undefined;
    let most = 0;
    for (const [owner, count] of this.#counts) {
      if (count <= most) continue;
      found = owner;
      most = count;
    }
    return found;
  }

  /**
   * The owner that has to give way when `limit` are in use and `taker` wants one more: another one,
   * above its share, while `taker` is below its own.
   */
  donor(taker: FlowOwner, limit: number): FlowOwner | undefined {
    const own = this.of(taker);
    const owners = this.#counts.size + (own === 0 ? 1 : 0);
    const share = limit / owners;
    const greediest = this.greediest();
    if (own + 1 > share || greediest === undefined || greediest === taker) return undefined;
    return this.of(greediest) > share ? greediest : undefined;
  }
}
