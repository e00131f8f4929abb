/**
 * What sessions of UDP and of pings have in common, clients' and programs' of this host: one NAT mapping,
 * and a flow for each target.
 *
 * @module
 */

import type { Timed } from "../../netstack/mod.ts";
import {
  type Flow,
  type FlowCarrier,
  type FlowEnd,
  type FlowFigures,
  type FlowOwner,
  ownFigures,
} from "../flow/flow.ts";
import { type FilterEntry, UdpFilter } from "./udp_filter.ts";

/** What a session needs of the forwarder, or inbound, that it belongs to. */
export interface SessionOwner<S> {
  /** Whether there are so many flows in all that no session may have many. */
  readonly isCrowded: boolean;
  /** Something went either way. */
  touch(session: S, now: number): void;
  onFlowEnded(flow: Flow, why: FlowEnd): void;
  /** Last, and once. */
  onEnded(session: S): void;
}

export abstract class Session implements Timed, FlowCarrier {
  deadline = Infinity;
  heapIndex = -1;
  /** In the list of all sessions. */
  rosterIndex = -1;
  // Initialised: a declared field begins as undefined, and then each number stored is a new object.
  /** Milliseconds, monotonic. */
  lastActivity = -Infinity;
  readonly peer: FlowOwner;
  protected readonly filter: UdpFilter = new UdpFilter();
  #hasEnded = false;

  constructor(peer: FlowOwner, now: number) {
    this.peer = peer;
    this.lastActivity = now;
  }

  protected get hasEnded(): boolean {
    return this.#hasEnded;
  }

  protected abstract readonly owner: SessionOwner<this>;
  /** Of both sides. Called once, before the flows end. */
  protected abstract closeSockets(): void;

  inspect(flow: Flow): FlowFigures {
    return ownFigures(flow);
  }

  endFlow(flow: Flow, why: FlowEnd): void {
    for (const entry of this.filter.entries()) {
      if (entry.flow !== flow) continue;
      this.filter.remove(entry);
      this.ended(entry, why);
      break;
    }
    if (this.filter.size === 0) this.end(why);
  }

  /** Ends every flow, and closes the sockets. */
  end(why: FlowEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.closeSockets();
    for (const entry of this.filter.entries()) this.ended(entry, why);
    this.owner.onEnded(this);
  }

  /** Adds the entry of an admitted flow; the one not sent to for longest may have to make room. */
  protected enter(entry: FilterEntry): void {
    entry.flow.carrier = this;
    const forgotten = this.filter.add(entry, this.owner.isCrowded);
    if (forgotten !== undefined) this.ended(forgotten, "idle");
  }

  protected ended({ flow }: FilterEntry, why: FlowEnd): void {
    this.owner.onFlowEnded(flow, why);
  }
}
