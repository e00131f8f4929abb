/**
 * A port NAT: which external port stands for whom behind it, and who may send to it.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "../address.ts";
import { readUint32 } from "../bytes.ts";
import type { TransitPacket } from "../transit.ts";
import { NatCounters } from "./counters.ts";
import { ICMP_IDENTIFIERS, Mappings, sizeOf, UDP_PORTS } from "./mappings.ts";
import { ESTABLISHED_LIFE, ICMP_LIFE, Sessions, TRANSITORY_LIFE, UDP_LIFE } from "./sessions.ts";
import { type NatOptions, type NatSettings, natSettings } from "./settings.ts";
import { afterSegment, isEstablished, opens, RST } from "./tcp_state.ts";
import { type Report, UnsolicitedSyns } from "./unsolicited.ts";

/** Anybody's address. */
const NOBODY = new Uint8Array(16);

/**
 * RFC 4787, 5382 and 5508: endpoint-independent mappings, ports preserved where they are free, each
 * with one holder at most. It decides; `NatPath` changes the packets. A call that names a packet's
 * addresses gives their place in its buffer; -1 says that the packet is dropped, and has been counted.
 */
export class Nat {
  readonly counters = new NatCounters();
  readonly addresses: readonly IpAddress[];
  readonly settings: NatSettings;
  readonly #ipv4: IpAddress | undefined;
  readonly #ipv6: IpAddress | undefined;
  readonly #mappings: Mappings;
  readonly #sessions: Sessions;
  readonly #syns = new UnsolicitedSyns();
  readonly #permits: boolean;
  readonly #byPort: boolean;

  /** @throws {RangeError} for what is out of range. */
  constructor(options: NatOptions) {
    const settings = natSettings(options);
    this.settings = settings;
    this.addresses = [...options.addresses];
    this.#ipv4 = this.addresses.find(({ version }) => version === 4);
    this.#ipv6 = this.addresses.find(({ version }) => version === 6);
    const random = (out: Uint8Array) => options.random(out);
    const { ports, udpMs, icmpMs, tcpTransitoryMs, tcpEstablishedMs, maxSessions } = settings;
    this.#mappings = new Mappings(ports.first, ports.last, random);
    const lives = [udpMs, icmpMs, tcpTransitoryMs, tcpEstablishedMs];
    this.#sessions = new Sessions(lives, maxSessions, random);
    this.#permits = settings.filtering === "address";
    this.#byPort = settings.filtering === "address-port";
  }

  get mappings(): number {
    return this.#mappings.size;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** SYNs that wait for an answer. */
  get waiting(): number {
    return this.#syns.size;
  }

  /** What hosts behind it appear as; undefined = as they are. */
  external(version: IpVersion): IpAddress | undefined {
    return version === 4 ? this.#ipv4 : this.#ipv6;
  }

  /** An address of a mapping's host is at this place in {@link insides}. */
  insideOf(mapping: number): number {
    return 16 * mapping;
  }

  get insides(): Uint8Array {
    return this.#mappings.addresses;
  }

  insidePort(mapping: number): number {
    return this.#mappings.ports[mapping]!;
  }

  externalPort(mapping: number): number {
    return this.#mappings.externals[mapping]!;
  }

  /**
   * The mapping for a packet on its way out, made if need be. What is sent keeps mapping and session.
   *
   * @param from As `Stack.handlePacket` was told.
   * @param port At its source.
   * @param remotePort 0 for ICMP.
   * @param flags TCP's.
   */
  outbound(
    space: number,
    buffer: Uint8Array,
    source: number,
    port: number,
    remote: number,
    remotePort: number,
    flags: number,
    from: unknown,
    now: number,
  ): number {
    const mappings = this.#mappings;
    const isTcp = space < UDP_PORTS;
    let mapping = mappings.find(space, buffer, source, port);
    let session = mapping < 0 ? -1 : this.#session(mapping, space, buffer, remote, remotePort);
    if (session < 0) {
      // A RST for no known connection goes no further: its receiver has other ways to find out.
      if (isTcp && (flags & RST) !== 0) {
        this.counters.unasked++;
        return -1;
      }
      if (mapping < 0) mapping = this.#map(space, buffer, source, port, from, now);
      session = this.#begin(mapping, space, buffer, remote, remotePort, now)!;
      if (isTcp && opens(flags) && this.#syns.size > 0) {
        const external = mappings.externals[mapping]!;
        this.#syns.forget(buffer, remote, sizeOf(space), remotePort, external);
      }
    }
    this.#use(mapping, session, space, true, flags, now);
    return mapping;
  }

  /**
   * The mapping that a packet on its way in is for.
   *
   * @param remote Its source address, in `remoteBuffer`.
   * @param isReply Of ICMP: nothing else is for a host behind a NAT (RFC 5508 REQ-1).
   */
  inbound(
    packet: TransitPacket,
    space: number,
    external: number,
    remoteBuffer: Uint8Array,
    remote: number,
    remotePort: number,
    isReply: boolean,
    ingress: number,
    now: number,
  ): number {
    const { flags } = packet;
    // A SYN that another NAT has translated, or this one for a hairpin, does not show the ends it is
    // known by here, and nobody could tell whether it was answered: dropped in silence (RFC 5382 REQ-4 a).
    const mayWait = space < UDP_PORTS && opens(flags) && remoteBuffer === packet.buffer;
    const mapping = this.#mappings.at(space, external);
    if (mapping < 0 || space >= ICMP_IDENTIFIERS && !isReply) {
      this.counters.unmapped++;
      if (mayWait) this.#syns.add(packet, ingress, now);
      return -1;
    }
    let session = this.#session(mapping, space, remoteBuffer, remote, remotePort);
    if (session < 0 && space < UDP_PORTS && opens(flags)) {
      session = this.#accept(mapping, space, remoteBuffer, remote, remotePort);
      if (session < 0 && mayWait) this.#syns.add(packet, ingress, now);
    }
    if (session < 0) {
      this.counters.filtered++;
      return -1;
    }
    this.#use(mapping, session, space, false, flags, now);
    return mapping;
  }

  /** The mapping of a host behind the NAT that has sent, to a remote end, what an error is about. */
  mappingOf(
    space: number,
    buffer: Uint8Array,
    inside: number,
    port: number,
    remote: number,
    remotePort: number,
  ): number {
    const mapping = this.#mappings.find(space, buffer, inside, port);
    return this.#asKnown(mapping, space, buffer, remote, remotePort);
  }

  /** The same by its external port. */
  mappingAt(
    space: number,
    external: number,
    buffer: Uint8Array,
    remote: number,
    remotePort: number,
  ): number {
    const mapping = this.#mappings.at(space, external);
    return this.#asKnown(mapping, space, buffer, remote, remotePort);
  }

  /** When {@link handleTimeout} is due, ms; Infinity = never. */
  pollTimeout(): number {
    return Math.min(this.#sessions.nextEnd, this.#syns.nextEnd);
  }

  /** @param report Told of SYNs that were not asked for: the port is unreachable. */
  handleTimeout(now: number, report: Report): void {
    this.expire(now);
    this.counters.synsReported += this.#syns.handleTimeout(now, report);
  }

  /** Takes out what has ended; to be called before anything is looked up. */
  expire(now: number): void {
    for (let session; (session = this.#sessions.ended(now)) >= 0;) this.#end(session, -1, now);
  }

  /** RFC 5508 REQ-6, RFC 4787 REQ-12: an error changes nothing here. */
  #asKnown(
    mapping: number,
    space: number,
    buffer: Uint8Array,
    remote: number,
    remotePort: number,
  ): number {
    if (mapping >= 0 && this.#session(mapping, space, buffer, remote, remotePort) >= 0) {
      return mapping;
    }
    this.counters.unknownError++;
    return -1;
  }

  /** Makes a mapping that is not there; when the ports are used up the idlest goes. */
  #map(
    space: number,
    buffer: Uint8Array,
    source: number,
    port: number,
    from: unknown,
    now: number,
  ): number {
    const mappings = this.#mappings;
    const key = this.#keyOf(space, buffer, source, from);
    const victim = mappings.victim(space, key);
    if (victim >= 0) {
      this.counters.evicted++;
      for (let left = mappings.sessionCounts[victim]!; left > 0; left--) {
        this.#end(mappings.sessions[victim]!, -1, now);
      }
    }
    this.counters.mappings++;
    return mappings.add(space, buffer, source, port, key, now);
  }

  /** Who shares the table. */
  #keyOf(space: number, buffer: Uint8Array, source: number, from: unknown): unknown {
    if (this.settings.shareBy === "sender") return from;
    const high = readUint32(buffer, source);
    if (sizeOf(space) === 4) return high;
    return BigInt(high) << 32n | BigInt(readUint32(buffer, source + 4));
  }

  /** A session with a remote end; -1 = none. */
  #session(
    mapping: number,
    space: number,
    buffer: Uint8Array,
    remote: number,
    remotePort: number,
  ): number {
    const sessions = this.#sessions;
    const length = sizeOf(space);
    const isAnybody = space >= UDP_PORTS && !this.#permits && !this.#byPort;
    if (isAnybody) {
      buffer = NOBODY;
      remote = 0;
    }
    if (space >= UDP_PORTS && !this.#byPort) remotePort = 0;
    const recent = this.#mappings.recent[mapping]!;
    if (recent >= 0 && sessions.is(recent, mapping, buffer, remote, length, remotePort)) {
      return recent;
    }
    const found = sessions.find(mapping, buffer, remote, length, remotePort);
    if (found >= 0) this.#mappings.recent[mapping] = found;
    return found;
  }

  /** A session that is not there; when there are too many the idlest goes. */
  #begin(
    mapping: number,
    space: number,
    buffer: Uint8Array,
    remote: number,
    remotePort: number,
    now: number,
  ): number {
    const key = this.#mappings.keyOf(mapping);
    const victim = this.#sessions.victim(key);
    if (victim >= 0) {
      this.counters.sessionsEvicted++;
      this.#end(victim, mapping, now);
    }
    return this.#add(mapping, space, buffer, remote, remotePort, key);
  }

  /** A connection from beyond: where filtering lets it, and there is room that nobody has to make. */
  #accept(
    mapping: number,
    space: number,
    buffer: Uint8Array,
    remote: number,
    remotePort: number,
  ): number {
    const isPermitted = !this.#byPort &&
      (!this.#permits || this.#sessions.find(mapping, buffer, remote, sizeOf(space), 0) >= 0);
    const key = this.#mappings.keyOf(mapping);
    if (!isPermitted || this.#sessions.victim(key) >= 0) return -1;
    return this.#add(mapping, space, buffer, remote, remotePort, key);
  }

  #add(
    mapping: number,
    space: number,
    buffer: Uint8Array,
    remote: number,
    remotePort: number,
    key: unknown,
  ): number {
    const mappings = this.#mappings;
    const sessions = this.#sessions;
    const length = sizeOf(space);
    const isTcp = space < UDP_PORTS;
    if (!isTcp && !this.#permits && !this.#byPort) {
      buffer = NOBODY;
      remote = 0;
    }
    const port = isTcp || this.#byPort ? remotePort : 0;
    const elder = mappings.sessions[mapping]!;
    const session = sessions.add(mapping, buffer, remote, length, port, key, elder);
    mappings.sessions[mapping] = mappings.recent[mapping] = session;
    mappings.sessionCounts[mapping]!++;
    if (isTcp && this.#permits) sessions.permit(mapping, buffer, remote, length);
    return session;
  }

  /** A packet passes. RFC 4787 REQ-6: what comes in keeps a session of UDP no longer. */
  #use(
    mapping: number,
    session: number,
    space: number,
    isOut: boolean,
    flags: number,
    now: number,
  ): void {
    const sessions = this.#sessions;
    this.#mappings.touch(mapping);
    sessions.touch(session);
    if (space < UDP_PORTS) {
      const state = afterSegment(sessions.states[session]!, isOut, flags);
      sessions.states[session] = state;
      sessions.refresh(session, isEstablished(state) ? ESTABLISHED_LIFE : TRANSITORY_LIFE, now);
    } else if (isOut) {
      sessions.refresh(session, space < ICMP_IDENTIFIERS ? UDP_LIFE : ICMP_LIFE, now);
    }
  }

  /** Its mapping goes with the last one, unless it is `kept`. */
  #end(session: number, kept: number, now: number): void {
    const mappings = this.#mappings;
    const sessions = this.#sessions;
    const mapping = sessions.mappings[session]!;
    const space = mappings.spaces[mapping]!;
    if (space < UDP_PORTS && this.#permits) sessions.revoke(session, sizeOf(space));
    mappings.sessions[mapping] = sessions.remove(session, mappings.sessions[mapping]!);
    if (mappings.recent[mapping] === session) mappings.recent[mapping] = -1;
    if (--mappings.sessionCounts[mapping]! === 0 && mapping !== kept) {
      mappings.remove(mapping, now);
    }
  }
}
