/**
 * Inbounds: how programs of this host get into the tunnel without a device of the system. Each of their
 * connections and sessions is a flow of the inbound's owner: asked for, dialled inside the tunnel, and
 * joined.
 *
 * @module
 */

import type { TimeoutSource, TurnSource } from "../engine/engine.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { OwnListeners } from "../flow/own_listeners.ts";
import type { InboundCounters } from "./counters.ts";
import type { ForwarderOptions, ForwardTimeouts } from "../forward/options.ts";
import type { Stack } from "../../netstack/mod.ts";

/** What an inbound is given by the gateway that it is for. */
export interface InboundHost extends Omit<ForwarderOptions, "ownerOf"> {
  readonly stack: Stack;
  /** Of all inbounds. */
  readonly counters: InboundCounters;
  /** Where it listens is to be among them: no peer gets there. */
  readonly listeners: OwnListeners;
  /** Whether the tunnel takes more. */
  hasRoom(): boolean;
  addTimeouts(source: TimeoutSource): void;
  addTurns(source: TurnSource): void;
}

export interface Inbound {
  /** Whose its flows are; its name is what logs, statistics and rules call it. */
  readonly owner: FlowOwner;
  /** For what is under way: the host's settings have other timeouts now. */
  timeoutsChanged(before: ForwardTimeouts): void;
  /** Takes no new connections and sessions. Idempotent. */
  close(): void;
  /** Ends everything that is left. Resolves when no socket is. */
  abort(): Promise<void>;
}
