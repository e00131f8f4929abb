/**
 * Equal shares of what is scarce. Alone an owner may have all of it; when it is used up, whoever has
 * less than a share takes from whoever has most.
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

  /** Who has most, and so is furthest above its share. */
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
   * Who has to give way when `limit` are in use and `asker` wants one more: another owner, above its
   * share, while the asker is below its own.
   */
  donor(asker: FlowOwner, limit: number): FlowOwner | undefined {
    const own = this.of(asker);
    const owners = this.#counts.size + (own === 0 ? 1 : 0);
    const share = limit / owners;
    const greediest = this.greediest();
    if (own + 1 > share || greediest === undefined || greediest === asker) return undefined;
    return this.of(greediest) > share ? greediest : undefined;
  }
}
