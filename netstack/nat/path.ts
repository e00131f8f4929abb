/**
 * A packet's way from one link to another through the NATs of both.
 *
 * @module
 */

import type { IpVersion } from "../address.ts";
import { readUint16 } from "../bytes.ts";
import { finish, fold, sum } from "../checksum.ts";
import { ICMP_HEADER_LENGTH } from "../icmp_types.ts";
import type { Identification } from "../identification.ts";
import { IPV4_HEADER_LENGTH, ipv4HeaderLength } from "../ipv4.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from "../protocols.ts";
import { TransitPacket } from "../transit.ts";
import { type FragmentedPacket, NatFragments } from "./fragments.ts";
import { ICMP_IDENTIFIERS, TCP_PORTS, UDP_PORTS } from "./mappings.ts";
import type { Nat } from "./nat.ts";
import { Rewrite } from "./rewrite.ts";
import {
  hasIdentification,
  renumber,
  translateAddress,
  translateDestination,
  translateError,
  translateSource,
} from "./translation.ts";

/** What becomes of a packet. */
export type NatVerdict =
  | "pass"
  /** Counted by its NAT. */
  | "drop"
  /** A protocol that has no ports, outbound: its sender is told (RFC 5508 REQ-8). */
  | "refuse"
  /** A fragment, put aside until the first of its packet comes. */
  | "hold";

/** RFC 792: timestamps. Like echoes they have an identifier. */
const TIMESTAMP = 13;
const TIMESTAMP_REPLY = 14;

/** No space of ports. */
const NONE = -1;

/**
 * {@link enter} puts the host behind the NAT into the destination, {@link leave} the NAT's address into
 * the source: what decides about packets in between sees both hosts as their own links know them. What
 * goes no further is quoted to its sender after an {@link undo}. One object, for one packet at a time.
 */
export class NatPath {
  readonly fragments: NatFragments;
  readonly #identification: Identification;
  readonly #packet = new TransitPacket();
  readonly #quoted = new TransitPacket();
  readonly #rewrite = new Rewrite();
  /** The NATs that the sender and the receiver are behind. */
  #out: Nat | undefined = undefined;
  #in: Nat | undefined = undefined;
  #ingress = 0;
  #from: unknown = undefined;
  /** Of the packet, or of the one that an error is about. */
  #space = NONE;
  #isReply = false;
  /** The sender's mapping. */
  #mapping = -1;
  #fragmented: FragmentedPacket | undefined = undefined;
  /** Fragments that have waited for the packet that has just passed; to be taken in as if they came. */
  released: Uint8Array[] = [];

  constructor(random: (out: Uint8Array) => void, identification: Identification) {
    this.fragments = new NatFragments(random);
    this.#identification = identification;
  }

  /**
   * A packet whose header has been checked, from the link of `from` to that of `to`.
   *
   * @param ingress Number of the NIC it came in by.
   * @param isBack Whether it leaves by that NIC.
   * @param sender As `Stack.handlePacket` was told.
   */
  enter(
    from: Nat | undefined,
    to: Nat | undefined,
    ingress: number,
    isBack: boolean,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    sender: unknown,
    now: number,
  ): NatVerdict {
    const packet = this.#packet;
    packet.parse(buffer, offset, total, version);
    this.#rewrite.begin(buffer);
    this.#ingress = ingress;
    this.#from = sender;
    this.#mapping = -1;
    this.#fragmented = undefined;
    this.#out = from?.external(version) === undefined ? undefined : from;
    const external = to?.external(version);
    this.#in = external === undefined ? undefined : to;
    if (external === undefined) return "pass";
    if (!external.matches(buffer, packet.destination, version)) {
      this.#in = undefined;
      if (isBack) {
        this.#out = undefined; // between two hosts behind it
        return "pass";
      }
      to!.counters.direct++;
      return "drop";
    }
    return this.#enter(this.#in!, now);
  }

  /** The packet is about to leave: its source is translated. */
  leave(now: number): NatVerdict {
    const out = this.#out;
    if (out === undefined) return "pass";
    const packet = this.#packet;
    const { bytes } = out.external(packet.version)!;
    if (packet.isFragmented) this.#fragmented ??= this.fragments.of(packet, this.#ingress, now);
    const fragmented = this.#fragmented;
    if (packet.kind === "fragment") {
      if (!fragmented!.isKnown) return this.#hold(out, fragmented!);
      translateAddress(this.#rewrite, packet, packet.source, bytes, 0);
    } else {
      if (this.#in === undefined) {
        out.expire(now);
        const verdict = this.#classify(out);
        if (verdict !== "pass") return verdict;
        if (!this.#mapOut(out, now)) return "drop";
      }
      const port = out.externalPort(this.#mapping);
      if (packet.kind === "icmp-error") {
        translateError(this.#rewrite, packet, this.#quoted, this.#space, false, bytes, 0, port);
      } else translateSource(this.#rewrite, packet, this.#space, bytes, 0, port);
    }
    this.#renumber(fragmented);
    if (fragmented !== undefined && packet.kind !== "fragment") this.#know(fragmented);
    out.counters.outbound++;
    if (this.#in === out) out.counters.hairpinned++;
    return "pass";
  }

  /** The packet is as it came. */
  undo(): void {
    this.#rewrite.undo();
  }

  #enter(to: Nat, now: number): NatVerdict {
    const packet = this.#packet;
    const rewrite = this.#rewrite;
    if (packet.isFragmented) this.#fragmented = this.fragments.of(packet, this.#ingress, now);
    const fragmented = this.#fragmented;
    if (packet.kind === "fragment") {
      if (!fragmented!.isKnown) return this.#hold(to, fragmented!);
      translateAddress(rewrite, packet, packet.destination, fragmented!.destination!, 0);
      to.counters.inbound++;
      return "pass";
    }
    const out = this.#out;
    to.expire(now);
    if (out !== to) out?.expire(now);
    const verdict = this.#classify(to);
    if (verdict !== "pass") return verdict;
    // The sender's external address comes first: this NAT's filter asks for it.
    if (out !== undefined && !this.#mapOut(out, now)) return "drop";
    const mapping = packet.kind === "icmp-error" ? this.#errorIn(to) : this.#mapIn(to, now);
    if (mapping < 0) return "drop";
    const { insides } = to;
    const at = to.insideOf(mapping);
    const port = to.insidePort(mapping);
    if (packet.kind === "icmp-error") {
      translateError(rewrite, packet, this.#quoted, this.#space, true, insides, at, port);
    } else translateDestination(rewrite, packet, this.#space, insides, at, port);
    to.counters.inbound++;
    if (fragmented !== undefined) {
      fragmented.destination = insides.slice(at, at + (packet.version === 4 ? 4 : 16));
      if (out === undefined) this.#know(fragmented);
    }
    return "pass";
  }

  /** What the packet is to a NAT. @param nat To count what cannot be translated. */
  #classify(nat: Nat): NatVerdict {
    const packet = this.#packet;
    const { kind } = packet;
    this.#space = NONE;
    if (kind === "malformed") {
      nat.counters.malformed++;
      return "drop";
    }
    if (kind !== "icmp-error") {
      this.#space = this.#spaceOf(packet);
      if (this.#space !== NONE) return "pass";
      if (kind === "tcp") {
        nat.counters.malformed++;
        return "drop";
      }
      nat.counters.otherProtocol++;
      return nat === this.#out ? "refuse" : "drop";
    }
    if (!isIntact(packet) || packet.isFragmented) {
      nat.counters.badError++;
      return "drop";
    }
    const quoted = this.#quoted;
    if (quoted.parseQuoted(packet)) this.#space = this.#spaceOf(quoted);
    if (this.#space !== NONE) return "pass";
    nat.counters.unknownError++;
    return "drop";
  }

  /** The space of a packet's ports; sets them for what `TransitPacket` does not read. */
  #spaceOf(packet: TransitPacket): number {
    const { kind, version, protocol, buffer, transport, end } = packet;
    const isIpv6 = version === 6 ? 1 : 0;
    this.#isReply = kind === "echo-reply";
    switch (kind) {
      case "tcp":
        // No host has a port 0; here it means any.
        return packet.sourcePort === 0 || packet.destinationPort === 0 ? NONE : TCP_PORTS + isIpv6;
      case "udp":
        return UDP_PORTS + isIpv6;
      case "echo-request":
      case "echo-reply":
        return ICMP_IDENTIFIERS + isIpv6;
      case "other": {
        // In IPv6 that protocol is nothing.
        if (protocol !== PROTOCOL_ICMP || version !== 4) return NONE;
        if (transport + ICMP_HEADER_LENGTH > end) return NONE;
        const type = buffer[transport]!;
        if (type !== TIMESTAMP && type !== TIMESTAMP_REPLY) return NONE;
        this.#isReply = type === TIMESTAMP_REPLY;
        packet.sourcePort = packet.destinationPort = readUint16(buffer, transport + 4);
        return ICMP_IDENTIFIERS;
      }
      default:
        return NONE;
    }
  }

  /** Finds the mapping that stands for the source. */
  #mapOut(out: Nat, now: number): boolean {
    const packet = this.#packet;
    const space = this.#space;
    if (packet.kind === "icmp-error") {
      const { buffer, source, destination, sourcePort, destinationPort } = this.#quoted;
      const remotePort = space < ICMP_IDENTIFIERS ? sourcePort : 0;
      this.#mapping = out.mappingOf(
        space,
        buffer,
        destination,
        destinationPort,
        source,
        remotePort,
      );
      return this.#mapping >= 0;
    }
    if (this.#isReply) {
      // No query comes in that could be answered.
      out.counters.unasked++;
      return false;
    }
    const { buffer, source, destination, sourcePort, destinationPort, flags } = packet;
    this.#mapping = out.outbound(
      space,
      buffer,
      source,
      sourcePort,
      destination,
      space < ICMP_IDENTIFIERS ? destinationPort : 0,
      flags,
      this.#from,
      now,
    );
    return this.#mapping >= 0;
  }

  #mapIn(to: Nat, now: number): number {
    const packet = this.#packet;
    const out = this.#out;
    const space = this.#space;
    const port = out === undefined ? packet.sourcePort : out.externalPort(this.#mapping);
    return to.inbound(
      packet,
      space,
      packet.destinationPort,
      out === undefined ? packet.buffer : out.external(packet.version)!.bytes,
      out === undefined ? packet.source : 0,
      space < ICMP_IDENTIFIERS ? port : 0,
      this.#isReply,
      this.#ingress,
      now,
    );
  }

  #errorIn(to: Nat): number {
    const { version, buffer, destination, sourcePort, destinationPort } = this.#quoted;
    const out = this.#out;
    const space = this.#space;
    const port = out === undefined ? destinationPort : out.externalPort(this.#mapping);
    return to.mappingAt(
      space,
      sourcePort,
      out === undefined ? buffer : out.external(version)!.bytes,
      out === undefined ? destination : 0,
      space < ICMP_IDENTIFIERS ? port : 0,
    );
  }

  /** A fragment behind the first, which has not come. */
  #hold(nat: Nat, fragmented: FragmentedPacket): NatVerdict {
    if (this.fragments.hold(fragmented, this.#packet, nat.counters)) return "hold";
    nat.counters.fragments++;
    return "drop";
  }

  /** The first fragment passes, and so do those that came before it. */
  #know(fragmented: FragmentedPacket): void {
    fragmented.isKnown = true;
    this.released = this.fragments.release(fragmented);
  }

  /**
   * Hosts behind one address would give packets for one receiver the same identification, and it would
   * put their fragments together.
   */
  #renumber(fragmented: FragmentedPacket | undefined): void {
    const packet = this.#packet;
    if (!hasIdentification(packet)) return;
    let next = fragmented?.identificationBeyond ?? -1;
    if (next < 0) {
      next = packet.version === 4 ? this.#identification.ipv4() : this.#identification.ipv6();
    }
    if (fragmented !== undefined) fragmented.identificationBeyond = next;
    renumber(this.#rewrite, packet, next);
  }
}

/** RFC 5508 REQ-3: an error's checksum, and that of the header it quotes. */
function isIntact({ buffer, version, source, transport, quoted, end }: TransitPacket): boolean {
  const length = end - transport;
  const pseudo = version === 4 ? 0 : sum(buffer, source, 32, PROTOCOL_ICMPV6 + length);
  if (finish(sum(buffer, transport, length, pseudo)) !== 0) return false;
  if (version === 6) return true;
  if (quoted + IPV4_HEADER_LENGTH > end) return false;
  const headerLength = ipv4HeaderLength(buffer, quoted);
  return quoted + headerLength <= end && fold(sum(buffer, quoted, headerLength, 0)) === 0xffff;
}
