/**
 * All live flows.
 *
 * @module
 */

import { Roster } from "../../netstack/mod.ts";
import type { Flow, FlowEnd, FlowOwner, FlowProtocol } from "./flow.ts";

export class FlowTable {
  readonly #flows = new Roster<Flow, "tablePlace">("tablePlace");

  get size(): number {
    return this.#flows.size;
  }

  /** In the order in which they began. A flow may end meanwhile. */
  flows(): readonly Flow[] {
    return [...this.#flows.items].sort((a, b) => a.sequence - b.sequence);
  }

  add(flow: Flow): void {
    this.#flows.add(flow);
  }

  /** For carriers: the flow is over. */
  remove(flow: Flow, why: FlowEnd): void {
    if (flow.tablePlace < 0) return;
    this.#flows.delete(flow);
    flow.state = "ended";
    flow.end = why;
    flow.carrier = undefined;
  }

  /** The flow of `owner` that has been idle longest. */
  idlest(protocol: FlowProtocol, owner: FlowOwner): Flow | undefined {
    let found: Flow | undefined;
    let since = Infinity;
    for (const flow of this.#flows.items) {
      if (flow.protocol !== protocol || flow.owner !== owner) continue;
      const { lastActivity } = flow.carrier ?? flow;
      if (lastActivity >= since) continue;
      found = flow;
      since = lastActivity;
    }
    return found;
  }

  /** Ends every flow that `isAllowed` is false for. @returns how many. */
  review(isAllowed: (flow: Flow) => boolean): number {
    const ended = this.#flows.items.filter((flow) => !isAllowed(flow));
    for (const flow of ended) flow.carrier?.endFlow(flow, "revoked");
    return ended.length;
  }
}
