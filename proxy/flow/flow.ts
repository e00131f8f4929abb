/**
 * One connection, session or ping, from a peer or an inbound: whose it is, its addresses, its state
 * and figures. Plain values: no socket and no packet.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Rule } from "./rule.ts";
import type { FlowAccount } from "./account.ts";
import type { Totals } from "./totals.ts";
import { SharedRates } from "./limits.ts";
import type { Pace } from "./pace.ts";

/** `udp` is a session with one target, `icmp` a ping. */
export type FlowProtocol = "tcp" | "udp" | "icmp";

/** `half-closed`: one of the two sides has sent its last byte. */
export type FlowState = "dialling" | "open" | "half-closed" | "ended";

/** Why a flow ended. */
export type FlowEnd =
  /** Both sides have closed. */
  | "closed"
  | "reset-by-source"
  | "reset-by-target"
  /** The dial failed. */
  | "refused"
  | "timeout"
  | "unreachable"
  | "failed"
  /** The source gave up or started again while the target was dialled. */
  | "abandoned"
  /** Nothing went either way for too long. */
  | "idle"
  /** It made room for a flow of an owner that has fewer. */
  | "evicted"
  /** A rule, a map, a subnet, a limit or whose the source is has changed: no longer allowed. */
  | "revoked"
  /** Somebody had it ended. */
  | "killed"
  /** The gateway is closing. */
  | "aborted";

/** Whose flows count together: a peer, or an inbound of this host. */
export class FlowOwner {
  readonly #name: () => string;
  /** Whether it is an inbound, whose flows go into the tunnel. */
  readonly isInbound: boolean;
  /** Of all its flows together. */
  readonly rates: SharedRates = new SharedRates();
  /** At once; Infinity without a limit of its own. */
  maxTcpConnections = Infinity;
  maxUdpSessions = Infinity;
  /** Of its flows, from the first on. */
  totals: Totals | undefined = undefined;

  /** @param name Called whenever it is needed: a peer may be renamed. */
  constructor(name: () => string, isInbound = false) {
    this.#name = name;
    this.isInbound = isInbound;
  }

  /** A peer's name or public key, an inbound's name. */
  get name(): string {
    return this.#name();
  }
}

/** What carries a flow's bytes, and can end it. */
export interface FlowCarrier {
  /** When a byte last went either way, of all flows that it carries; ms, monotonic. */
  readonly lastActivity: number;
  /** Ends this flow: by a RST or in silence, as its protocol has it. Others go on. */
  endFlow(flow: Flow, why: FlowEnd): void;
  /** Ends all that it carries. */
  end(why: FlowEnd): void;
  /** Of the socket towards the target; undefined where it is not the flow's alone. */
  readonly localPort?: number | undefined;
  /** Smoothed round trip to a flow's target, ms; 0 before the first. Missing where nobody measures it. */
  targetRttMs?(flow: Flow): number;
  /** Figures that are not kept up to date in the flow, but read when needed. */
  inspect(flow: Flow): FlowFigures;
}

/** Figures of a live flow. */
export interface FlowFigures {
  /** TCP's state towards the source; otherwise the flow's own. */
  readonly state: string;
  /** Smoothed round trip to the source; 0 before the first, and where nobody measures it. */
  readonly rttMs: number;
  /** Segments towards the source that were sent again. */
  readonly retransmits: number;
  /** Segments of the source that came before those in front of them. */
  readonly outOfOrder: number;
  /** From the source and to it: segments, those without data among them, or datagrams. */
  readonly packetsUp: number;
  readonly packetsDown: number;
}

/** As the flow itself has them: where nobody else counts, or nothing is connected yet. */
export function ownFigures(flow: Flow): FlowFigures {
  const { state, rttMs, retransmits, outOfOrder, packetsUp, packetsDown } = flow;
  return { state, rttMs, retransmits, outOfOrder, packetsUp, packetsDown };
}

/** Where a flow wants to go. */
export interface FlowRequest {
  readonly protocol: FlowProtocol;
  readonly owner: FlowOwner;
  readonly source: IpAddress;
  /** A ping's identifier. */
  readonly sourcePort: number;
  /** As the source has it, before rules and maps. */
  readonly destination: IpAddress;
  /** 0 for a ping. */
  readonly destinationPort: number;
  /** Whether its packets pass through, from link to link: nothing is dialled. Missing: no. */
  readonly isTransit?: boolean;
}

let lastSequence = 0;
const PROCESS = crypto.getRandomValues(new Uint8Array(8)).toHex();

export class Flow implements FlowRequest {
  readonly protocol: FlowProtocol;
  readonly owner: FlowOwner;
  readonly source: IpAddress;
  readonly sourcePort: number;
  /** Another object with the same bytes may take its place. */
  destination: IpAddress;
  readonly destinationPort: number;
  readonly isTransit: boolean;
  /** The rule that it was decided by; undefined if none matches. */
  rule: Rule | undefined = undefined;
  /**
   * What is dialled for it, once it is admitted: the destination after rules and maps. Of a name, once
   * it is resolved.
   */
  dialled: IpAddress | undefined = undefined;
  dialledPort: number;
  /** The name that a rule has dialled instead. */
  dialledName: string | undefined = undefined;
  /** Milliseconds, monotonic. */
  readonly startedAt: number;
  // Initialised: a declared field begins as undefined, and then each number stored is a new object.
  lastActivity = -Infinity;
  /** Towards the target, and towards the source. */
  bytesUp = 0;
  bytesDown = 0;
  /** Of UDP and pings; TCP's are in {@link FlowCarrier.inspect} until it ends, as the rest is. */
  packetsUp = 0;
  packetsDown = 0;
  rttMs = 0;
  /** To the target; 0 where nobody measures it, and until it ends: see {@link FlowCarrier.targetRttMs}. */
  targetRttMs = 0;
  retransmits = 0;
  outOfOrder = 0;
  /** How long the target took to be connected; -1 until then, and for what is not dialled. */
  dialMs = -1;
  state: FlowState = "dialling";
  /** Why it ended; undefined while it lives. */
  end: FlowEnd | undefined = undefined;
  carrier: FlowCarrier | undefined = undefined;
  /** How fast it may go, towards the target and towards the source; undefined without a limit. */
  up: Pace | undefined = undefined;
  down: Pace | undefined = undefined;
  /** Where its figures are counted; undefined where nobody counts. */
  account: FlowAccount | undefined = undefined;
  /** Greater than that of every earlier flow. */
  readonly sequence: number = ++lastSequence;
  /** Places in the table and among the dials, -1 = not there. */
  tablePlace = -1;
  dialPlace = -1;

  constructor(
    protocol: FlowProtocol,
    owner: FlowOwner,
    source: IpAddress,
    sourcePort: number,
    destination: IpAddress,
    destinationPort: number,
    now: number,
    isTransit = false,
  ) {
    this.protocol = protocol;
    this.owner = owner;
    this.source = source;
    this.sourcePort = sourcePort;
    this.destination = destination;
    this.destinationPort = destinationPort;
    this.dialledPort = destinationPort;
    this.isTransit = isTransit;
    this.startedAt = now;
    this.lastActivity = now;
  }

  /**
   * 32 hex digits; no other flow of any process has them, and the first eight no other of this one,
   * until it has had four thousand million.
   */
  get id(): string {
    const rest = Math.floor(this.sequence / 0x1_0000_0000);
    return hex(this.idStart) + hex(rest) + PROCESS;
  }

  /** The first eight digits of {@link id}, as a number. */
  get idStart(): number {
    // By an odd factor, and so one to one: neighbours differ from the first digit on.
    return Math.imul(this.sequence, 0x9e3779b1) >>> 0;
  }
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}
