/**
 * How many flows that pass through each owner has, and whose is evicted when there are too many.
 *
 * @module
 */

import type { FlowOwner } from "../flow/flow.ts";
import { Shares } from "../flow/shares.ts";
import type { TransitFlow } from "./transit_flow.ts";
import { TransitQueue } from "./transit_queue.ts";

export class TransitShares {
  readonly #limit: number;
  readonly #shares = new Shares();
  readonly #queues = new Map<FlowOwner, TransitQueue>();

  /** @param limit Of the flows of all owners. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get total(): number {
    return this.#shares.total;
  }

  take(transit: TransitFlow): void {
    const { owner } = transit.flow;
    this.#shares.take(owner);
    let queue = this.#queues.get(owner);
    if (queue === undefined) this.#queues.set(owner, queue = new TransitQueue());
    queue.add(transit);
  }

  give(transit: TransitFlow): void {
    const { owner } = transit.flow;
    this.#shares.give(owner);
    const queue = this.#queues.get(owner)!;
    queue.remove(transit);
    if (queue.oldest === undefined) this.#queues.delete(owner);
  }

  /** Any flow; undefined when there is none left. */
  any(): TransitFlow | undefined {
    for (const queue of this.#queues.values()) return queue.oldest;
    return undefined;
  }

  /**
   * The flow that has to end for one more of `owner`: of whoever is furthest above an equal share, else
   * of itself. Undefined while there is room.
   */
  surplus(owner: FlowOwner): TransitFlow | undefined {
    const shares = this.#shares;
    if (shares.total < this.#limit) return undefined;
    const giver = shares.donor(owner, this.#limit) ??
      (shares.of(owner) > 0 ? owner : shares.greediest()!);
    return this.#queues.get(giver)!.idlest();
  }
}
