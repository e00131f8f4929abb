/**
 * One client's address and identifier, as `ping` and `traceroute` have one each, and its sockets
 * towards the targets: a flow for each target.
 *
 * @module
 */

import type { EchoFlow, IcmpErrorKind, IpAddress, IpVersion, Path } from "../../netstack/mod.ts";
import type { Flow, FlowEnd, FlowOwner } from "../flow/flow.ts";
import { TargetAddress } from "../target/address.ts";
import type { IcmpTargetHandler, IcmpTargets, IcmpTargetSocket } from "../target/icmp.ts";
import type { IcmpForwarderCounters } from "./icmp_counters.ts";
import type { HeldBytes } from "./held_bytes.ts";
import type { NoTarget } from "./named_targets.ts";
import { asSeenBySource, reporterOf } from "./reports.ts";
import { Session, type SessionOwner } from "./session.ts";
import { FilterEntry } from "./udp_filter.ts";

/** What a session needs of the forwarder it belongs to. */
export interface IcmpSessionOwner extends SessionOwner<IcmpSession> {
  readonly counters: IcmpForwarderCounters;
  readonly sockets: IcmpTargets;
  /** Requests that wait for a name. */
  readonly held: HeldBytes;
  /** Finds an address for a flow to a name: see `NamedTargets.resolve`. */
  resolve(flow: Flow, found: (target: IpAddress | NoTarget, now: number) => void): () => void;
  /** Whether an address is this host's, or may be. */
  isOwnHost(address: IpAddress): boolean;
  /** A socket could not be opened. */
  onNoSocket(session: IcmpSession, error: unknown): void;
}

const ICMP_HEADER_LENGTH = 8;
/** RFC 792, RFC 4443 §4.1. */
const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
/** Of the sequence number in an echo message. */
const SEQUENCE = 6;
/** Of a new measurement in the smoothed one (RFC 6298 §2.3). */
const RTT_GAIN = 1 / 8;

/** Requests that wait for a target's name to be resolved, and the largest of them, bytes. */
const MAX_HELD = 8;
const MAX_HELD_BYTES = 2_048;

interface HeldRequest {
  /**
   * Only the header if it is too large, or there is no room: enough to report that there is no
   * target.
   */
  readonly bytes: Uint8Array;
  readonly isWhole: boolean;
  readonly hopLimit: number;
  readonly dontFragment: boolean;
}

/** A target that the client pings. */
class PingEntry extends FilterEntry {
  /** What waits for the target's name; undefined once it is resolved. */
  held: HeldRequest[] | undefined = undefined;
  /** Nobody waits for the name any more. */
  stopResolving: (() => void) | undefined = undefined;
  /** What replies leave on, made with the first. */
  path: Path | undefined = undefined;
  /** Of the latest request: when it went, and its sequence number; -1 once it was answered. */
  sentAt = 0;
  sequence = -1;
}

export class IcmpSession extends Session implements IcmpTargetHandler {
  /** The stack's, of the client's address and identifier. */
  readonly client: EchoFlow;
  protected readonly owner: IcmpSessionOwner;
  #ipv4: IcmpTargetSocket | undefined = undefined;
  #ipv6: IcmpTargetSocket | undefined = undefined;

  constructor(owner: IcmpSessionOwner, client: EchoFlow, peer: FlowOwner, now: number) {
    super(peer, now);
    this.owner = owner;
    this.client = client;
  }

  /** A ping's only round trip is the one to its target. */
  targetRttMs({ rttMs }: Flow): number {
    return rttMs;
  }

  /** Whether the client has pinged `destination`: then {@link send} needs no new flow. */
  find(destination: IpAddress): FilterEntry | undefined {
    return this.filter.noteSent(destination, 0);
  }

  /** Another flow of this session, an admitted one. */
  add(flow: Flow): FilterEntry {
    const entry = new PingEntry(flow);
    this.enter(entry);
    if (flow.dialled !== undefined) flow.state = "open";
    else {
      entry.held = [];
      const stop = this.owner.resolve(flow, (target, now) => this.#resolved(entry, target, now));
      if (entry.held !== undefined) entry.stopResolving = stop;
    }
    return entry;
  }

  /** Sends the client's latest request on. The bytes are copied, the type may be changed. */
  send(to: FilterEntry, buffer: Uint8Array, offset: number, length: number, now: number): void {
    const entry = to as PingEntry;
    const { counters } = this.owner;
    const { up } = entry.flow;
    if (up !== undefined && !up.admits(length - ICMP_HEADER_LENGTH, now)) {
      counters.overRate++;
      return;
    }
    const { hopLimit, dontFragment } = this.client;
    const { held } = entry;
    if (held === undefined) {
      this.#transmit(entry, hopLimit, dontFragment, buffer, offset, length, now);
    } else if (held.length < MAX_HELD) {
      const isWhole = length <= MAX_HELD_BYTES && this.owner.held.take(this.peer, length);
      if (!isWhole) counters.noBuffer++;
      const kept = isWhole ? length : ICMP_HEADER_LENGTH;
      const bytes = buffer.slice(offset, offset + kept);
      held.push({ bytes, isWhole, hopLimit, dontFragment });
    } else counters.noBuffer++;
  }

  /** Ends the wait of an entry's requests. @returns them, oldest first. */
  #release(entry: PingEntry): readonly HeldRequest[] {
    const { held = [] } = entry;
    for (const { bytes, isWhole } of held) {
      if (isWhole) this.owner.held.give(this.peer, bytes.length);
    }
    entry.held = undefined;
    return held;
  }

  reply(
    senders: Int32Array,
    sender: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    hopLimit: number,
    now: number,
    arrivedAt = now,
  ): void {
    const { counters } = this.owner;
    const entry = this.filter.at(senders, sender) as PingEntry | undefined;
    const path = entry === undefined ? undefined : this.#pathOf(entry);
    if (entry === undefined || path === undefined) {
      counters.filtered++;
      return;
    }
    this.owner.touch(this, now);
    const { down } = entry.flow;
    if (down !== undefined && !down.admits(length - ICMP_HEADER_LENGTH, now)) {
      counters.overRate++;
      return;
    }
    path.hopLimit = Math.max(1, hopLimit - 1); // as a router on the way
    if (!this.client.reply(path, buffer, offset, length, now)) {
      counters.noRoom++;
      return;
    }
    const { flow } = entry;
    if (entry.sequence === sequenceAt(buffer, offset)) {
      const rttMs = arrivedAt - entry.sentAt;
      flow.rttMs = flow.packetsDown === 0 ? rttMs : flow.rttMs + (rttMs - flow.rttMs) * RTT_GAIN;
      entry.sequence = -1;
    }
    counters.replies++;
    counters.bytesDown += length - ICMP_HEADER_LENGTH;
    flow.packetsDown++;
    flow.bytesDown += length - ICMP_HEADER_LENGTH;
    flow.lastActivity = now;
  }

  report(
    receivers: Int32Array,
    receiver: number,
    sequence: number,
    kind: IcmpErrorKind,
    mtu: number,
    offender: IpAddress | undefined,
    now: number,
  ): void {
    const flow = this.filter.at(receivers, receiver)?.flow;
    if (flow === undefined) return;
    const { destination } = flow;
    const reporter = reporterOf(offender, flow, this.owner);
    mtu = asSeenBySource(mtu, flow);
    if (this.client.report(kind, mtu, destination, sequence, reporter, now)) {
      this.owner.counters.reports++;
    }
  }

  protected closeSockets(): void {
    this.#ipv4?.close();
    this.#ipv6?.close();
    this.client.close();
  }

  protected override ended(entry: FilterEntry, why: FlowEnd): void {
    (entry as PingEntry).stopResolving?.();
    this.#release(entry as PingEntry);
    super.ended(entry, why);
  }

  #transmit(
    entry: PingEntry,
    hopLimit: number,
    dontFragment: boolean,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { counters } = this.owner;
    const { flow, target } = entry;
    const socket = this.#socket(target.version);
    if (socket === undefined) return;
    buffer[offset] = ECHO_REQUEST[target.version]; // a map may lead to the other family
    socket.send(target, hopLimit, dontFragment, buffer, offset, length);
    entry.sentAt = now;
    entry.sequence = sequenceAt(buffer, offset);
    counters.requests++;
    counters.bytesUp += length - ICMP_HEADER_LENGTH;
    flow.packetsUp++;
    flow.bytesUp += length - ICMP_HEADER_LENGTH;
    flow.lastActivity = now;
  }

  /** The name that a flow goes to leads there, or nowhere. */
  #resolved(entry: PingEntry, target: IpAddress | NoTarget, now: number): void {
    const { flow } = entry;
    if (flow.state === "ended") return;
    const held = this.#release(entry);
    if (typeof target === "string") {
      for (const { bytes } of held) {
        const sequence = sequenceAt(bytes, 0);
        this.client.report(target, 0, flow.destination, sequence, undefined, now);
      }
      this.endFlow(flow, "unreachable");
      return;
    }
    flow.dialled = target;
    flow.state = "open";
    this.filter.resolved(entry, new TargetAddress(target, 0));
    entry.stopResolving = undefined;
    for (const { bytes, isWhole, hopLimit, dontFragment } of held) {
      if (this.hasEnded) break; // to make room for its own socket
      if (isWhole) this.#transmit(entry, hopLimit, dontFragment, bytes, 0, bytes.length, now);
    }
  }

  #pathOf(entry: PingEntry): Path | undefined {
    return entry.path ??= this.client.pathFrom(entry.flow.destination);
  }

  /** The socket of a family, opened when it is first needed. */
  #socket(version: IpVersion): IcmpTargetSocket | undefined {
    if (this.hasEnded) return undefined;
    const open = version === 4 ? this.#ipv4 : this.#ipv6;
    if (open !== undefined) return open;
    try {
      const socket = this.owner.sockets.open(version, this);
      return version === 4 ? this.#ipv4 = socket : this.#ipv6 = socket;
    } catch (error) {
      this.owner.onNoSocket(this, error);
      return undefined;
    }
  }
}

function sequenceAt(buffer: Uint8Array, message: number): number {
  return buffer[message + SEQUENCE]! << 8 | buffer[message + SEQUENCE + 1]!;
}
