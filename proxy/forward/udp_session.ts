/**
 * One client's UDP address and port, and its sockets towards the targets: one NAT mapping, whoever the
 * client talks to, and a flow for each target.
 *
 * @module
 */

import type { IcmpErrorKind, IpAddress, IpVersion, UdpFlow } from "../../netstack/mod.ts";
import type { Flow, FlowEnd, FlowOwner } from "../flow/flow.ts";
import { ipAt, portAt, TargetAddress } from "../target/address.ts";
import type { UdpTargetHandler, UdpTargets, UdpTargetSocket } from "../target/udp.ts";
import type { NoTarget } from "./named_targets.ts";
import type { UdpFiltering } from "./options.ts";
import { asSeenBySource, reporterOf } from "./reports.ts";
import { SCRATCH, type UdpDetour } from "./udp_detour.ts";
import { Session, type SessionOwner } from "./session.ts";
import { FilterEntry } from "./udp_filter.ts";
import type { UdpForwarderCounters } from "./udp_counters.ts";

/** What a session needs of the forwarder it belongs to. */
export interface UdpSessionOwner extends SessionOwner<UdpSession> {
  readonly counters: UdpForwarderCounters;
  readonly sockets: UdpTargets;
  readonly filtering: UdpFiltering;
  /** Of what was decided: see `Admission`. */
  readonly generation: number;
  /** An admitted flow to the client's destination; undefined if it is refused. */
  openFlow(
    session: UdpSession,
    destination: IpAddress,
    port: number,
    now: number,
  ): Flow | undefined;
  /** The address at which the client reaches `target`; undefined if it may not. */
  reverse(session: UdpSession, target: IpAddress, port: number): IpAddress | undefined;
  /** Whether an address is this host's, or may be. */
  isOwnHost(address: IpAddress): boolean;
  /** A socket could not be opened. */
  onNoSocket(session: UdpSession, error: unknown): void;
  /** What an admitted flow's datagrams have before them; undefined for most. */
  detourOf(flow: Flow): UdpDetour | undefined;
  /** Finds an address for a flow to a name: see `NamedTargets.resolve`. */
  resolve(flow: Flow, found: (target: IpAddress | NoTarget, now: number) => void): () => void;
}

const DNS_PORT = 53;
/** An IPv6 target's datagram may be larger than IPv4 can carry (RFC 768, RFC 791 §3.1). */
const MAX_IPV4_DATA = 65507;

export class UdpSession extends Session implements UdpTargetHandler {
  /** Whether the client has talked to name servers alone. */
  isDnsOnly = true;
  /** The stack's, of the client's address and port. */
  readonly client: UdpFlow;
  protected readonly owner: UdpSessionOwner;
  #ipv4: UdpTargetSocket | undefined = undefined;
  #ipv6: UdpTargetSocket | undefined = undefined;
  /** The last sender that the client has not sent to, and its address as the client sees it. */
  #unsolicited: IpAddress | undefined = undefined;
  #unsolicitedAs: IpAddress | undefined = undefined;
  #unsolicitedPort = 0;
  #unsolicitedGeneration = 0;

  constructor(owner: UdpSessionOwner, client: UdpFlow, peer: FlowOwner, now: number) {
    super(peer, now);
    this.owner = owner;
    this.client = client;
  }

  /** Targets that replies pass from. */
  get size(): number {
    return this.filter.size;
  }

  /** The entry of a target that the client sends to, opened if it is new; undefined if it is refused. */
  entryFor(destination: IpAddress, port: number, now: number): FilterEntry | undefined {
    const known = this.filter.noteSent(destination, port);
    if (known !== undefined) return known;
    const flow = this.owner.openFlow(this, destination, port, now);
    return flow === undefined ? undefined : this.add(flow);
  }

  /** Another flow of this session, an admitted one. */
  add(flow: Flow): FilterEntry {
    if (flow.destinationPort !== DNS_PORT) this.isDnsOnly = false;
    const entry = new FilterEntry(flow);
    this.enter(entry);
    entry.detour = this.owner.detourOf(flow);
    if (entry.detour?.isWaiting) {
      const stop = this.owner.resolve(flow, (target, now) => this.#resolved(entry, target, now));
      if (entry.detour?.isWaiting) entry.detour.stopResolving = stop;
    } else flow.state = "open";
    return entry;
  }

  /** Sends a datagram to a target, from this client's one port. The bytes are copied. */
  send(
    entry: FilterEntry,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { up } = entry.flow;
    if (up !== undefined && !up.admits(length, now)) {
      this.owner.counters.overRate++;
      return;
    }
    this.#send(entry, buffer, offset, length, now);
  }

  /** The same for what a rate has admitted. */
  #send(
    entry: FilterEntry,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { counters } = this.owner;
    const { target, flow, detour } = entry;
    if (detour !== undefined) {
      if (!this.#sendBy(detour, entry, buffer, offset, length)) return;
    } else if (!this.#sendTo(target, buffer, offset, length)) return;
    counters.datagramsUp++;
    counters.bytesUp += length;
    flow.packetsUp++;
    flow.bytesUp += length;
    flow.lastActivity = now;
  }

  datagram(
    senders: Int32Array,
    sender: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { counters, filtering } = this.owner;
    const exact = this.filter.at(senders, sender);
    const entry = exact ??
      (filtering === "address-port" ? undefined : this.filter.atAddress(senders, sender));
    let from: IpAddress | undefined;
    if (entry !== undefined) from = entry.flow.destination;
    else if (filtering === "endpoint") from = this.#unsolicitedAt(senders, sender);
    if (from === undefined) {
      counters.filtered++;
      return;
    }
    const port = exact?.flow.destinationPort ?? portAt(senders, sender);
    this.owner.touch(this, now);
    // What comes from elsewhere counts as of any target.
    const pace = (entry ?? this.filter.any())?.flow.down;
    if (pace !== undefined && !pace.admits(length, now)) {
      counters.overRate++;
      return;
    }
    const fits = length <= MAX_IPV4_DATA || this.client.client.version === 6;
    if (!fits || !this.client.send(from, port, buffer, offset, length, now)) {
      counters.noRoom++;
      return;
    }
    counters.datagramsDown++;
    counters.bytesDown += length;
    if (entry === undefined) return;
    const { flow } = entry;
    flow.packetsDown++;
    flow.bytesDown += length;
    flow.lastActivity = now;
  }

  /** The session lives on (RFC 4787 §9). */
  report(
    receivers: Int32Array,
    receiver: number,
    kind: IcmpErrorKind,
    mtu: number,
    offender: IpAddress | undefined,
    now: number,
  ): void {
    const entry = this.filter.at(receivers, receiver);
    if (entry === undefined) return;
    const { flow } = entry;
    const { destination, destinationPort } = flow;
    const reporter = reporterOf(offender, flow, this.owner);
    mtu = asSeenBySource(mtu, flow) - (entry.detour?.header.length ?? 0);
    if (this.client.report(kind, mtu, destination, destinationPort, reporter, now)) {
      this.owner.counters.reports++;
    }
  }

  failed(): void {
    this.end("failed"); // the client's next datagram opens another
  }

  protected closeSockets(): void {
    this.#ipv4?.close();
    this.#ipv6?.close();
    this.client.close();
  }

  protected override ended(entry: FilterEntry, why: FlowEnd): void {
    entry.detour?.release();
    super.ended(entry, why);
  }

  /** @returns whether the datagram counts as sent: one that waits does later. */
  #sendBy(
    detour: UdpDetour,
    { target }: FilterEntry,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    if (detour.isWaiting) {
      if (!detour.hold(buffer, offset, length)) this.owner.counters.noBuffer++;
      return false;
    }
    const whole = detour.write(buffer, offset, length);
    if (whole === 0) this.owner.counters.sendErrors++; // too long with its header
    return whole > 0 && this.#sendTo(target, SCRATCH, 0, whole);
  }

  /** With what is left of the client's hop limit. */
  #sendTo(target: TargetAddress, buffer: Uint8Array, offset: number, length: number): boolean {
    const { hopLimit } = this.client;
    return this.#socket(target.version)?.send(target, buffer, offset, length, hopLimit) ?? false;
  }

  /** The name that a flow goes to leads there, or nowhere. */
  #resolved(entry: FilterEntry, target: IpAddress | NoTarget, now: number): void {
    const { flow } = entry;
    if (flow.state === "ended") return;
    const { destination, destinationPort, dialledPort } = flow;
    if (typeof target === "string") {
      this.client.report(target, 0, destination, destinationPort, undefined, now);
      this.endFlow(flow, "unreachable");
      return;
    }
    flow.dialled = target;
    flow.state = "open";
    this.filter.resolved(entry, new TargetAddress(target, dialledPort));
    const held = entry.detour!.release();
    if (entry.detour!.header.length === 0) entry.detour = undefined;
    for (const datagram of held) {
      if (this.hasEnded) break; // to make room for its own socket
      this.#send(entry, datagram, 0, datagram.length, now);
    }
  }

  /** The client's address for a sender that it has not sent to; undefined if that is refused. */
  #unsolicitedAt(senders: Int32Array, sender: number): IpAddress | undefined {
    const target = ipAt(senders, sender);
    if (target === undefined) return undefined;
    const port = portAt(senders, sender);
    const { generation } = this.owner;
    if (
      this.#unsolicited?.equals(target) && this.#unsolicitedPort === port &&
      this.#unsolicitedGeneration === generation
    ) return this.#unsolicitedAs;
    this.#unsolicited = target;
    this.#unsolicitedPort = port;
    this.#unsolicitedGeneration = generation;
    return this.#unsolicitedAs = this.owner.reverse(this, target, port);
  }

  /** The socket of a family, opened when it is first needed. */
  #socket(version: IpVersion): UdpTargetSocket | undefined {
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
