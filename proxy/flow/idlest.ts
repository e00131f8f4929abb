/**
 * Which flow of an owner has been idle longest, when that is asked again and again because all is full.
 *
 * @module
 */

import type { Flow, FlowOwner, FlowProtocol } from "./flow.ts";

/** How many a walk through all flows finds: as many may be ended before the next. */
const FOUND = 64;

interface Found {
  readonly flow: Flow;
  /** When it was found. */
  readonly lastActivity: number;
}

export class IdlestFlows {
  readonly #live: Iterable<Flow>;
  #protocol: FlowProtocol | undefined;
  #owner: FlowOwner | undefined;
  /** The most idle at the end. What was not found has not been idle for as long, nor will be. */
  readonly #found: Found[] = [];

  /** @param live All flows. */
  constructor(live: Iterable<Flow>) {
    this.#live = live;
  }

  /** Of those that end here; undefined if there is none. */
  of(protocol: FlowProtocol, owner: FlowOwner): Flow | undefined {
    if (protocol === this.#protocol && owner === this.#owner) {
      const flow = this.#stillIdle();
      if (flow !== undefined) return flow;
    }
    this.#protocol = protocol;
    this.#owner = owner;
    this.#find(protocol, owner);
    return this.#found.at(-1)?.flow;
  }

  /** The most idle of those that were found, live still, and have not moved since. */
  #stillIdle(): Flow | undefined {
    const found = this.#found;
    for (let last; (last = found.at(-1)) !== undefined; found.pop()) {
      const { flow, lastActivity } = last;
      if (flow.tablePlace >= 0 && activityOf(flow) === lastActivity) return flow;
    }
    return undefined;
  }

  #find(protocol: FlowProtocol, owner: FlowOwner): void {
    const found = this.#found;
    found.length = 0;
    for (const flow of this.#live) {
      if (flow.protocol !== protocol || flow.owner !== owner || flow.isTransit) continue;
      const lastActivity = activityOf(flow);
      if (found.length === FOUND) {
        if (lastActivity >= found[0]!.lastActivity) continue;
        found.shift();
      }
      let at = found.length;
      while (at > 0 && found[at - 1]!.lastActivity <= lastActivity) at--;
      found.splice(at, 0, { flow, lastActivity });
    }
  }
}

function activityOf(flow: Flow): number {
  return (flow.carrier ?? flow).lastActivity;
}
