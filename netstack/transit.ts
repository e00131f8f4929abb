/**
 * Packets that pass through, from one link to another: who may decide about them, and what they are.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";
import { readUint16, readUint32 } from "./bytes.ts";
import {
  ECHO_REPLY,
  ECHO_REQUEST,
  ICMP_HEADER_LENGTH,
  icmpErrorKind,
  V6_ECHO_REPLY,
  V6_ECHO_REQUEST,
} from "./icmp_types.ts";
import {
  FRAGMENT_OFFSET_MASK,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  ipv4HeaderLength,
  MORE_FRAGMENTS,
} from "./ipv4.ts";
import {
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_IDENTIFICATION,
  FRAGMENT_OFFSET,
  HeaderChain,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER,
  IPV6_SOURCE,
} from "./ipv6.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from "./protocols.ts";
import { FLAGS, HEADER_LENGTH as TCP_HEADER_LENGTH } from "./tcp/header.ts";

/** What becomes of a packet. */
export type TransitVerdict =
  | "pass"
  /** A RST for TCP, ICMP administratively prohibited for the rest. */
  | "reject"
  /** Silence. */
  | "drop";

/** Decides about every packet that would pass through. Called while packets come in. */
export interface TransitFilter {
  /** @param packet Valid until the call returns. */
  handlePacket(packet: TransitPacket, now: number): TransitVerdict;
}

/** What a packet is, as far as its first bytes tell. */
export type TransitKind =
  | "tcp"
  | "udp"
  | "echo-request"
  | "echo-reply"
  /** ICMP about another packet, which is quoted. */
  | "icmp-error"
  /** A fragment behind the first, which alone has the rest of what is told here. */
  | "fragment"
  /** Of another protocol, or ICMP of another type. */
  | "other"
  /** Too short for what it claims to be, or with a header that has no end. */
  | "malformed";

const UDP_HEADER_LENGTH = 8;
/** A quoted packet has eight bytes of it at least (RFC 792). */
const QUOTED_LENGTH = 8;

/** Describes a packet in place. One object, refilled for each. */
export class TransitPacket {
  /** Who sent it, as `Stack.handlePacket` was told. */
  from: unknown = undefined;
  buffer: Uint8Array = new Uint8Array(0);
  version: IpVersion = 4;
  /** Of the IP header. */
  offset = 0;
  /** Of the IP packet, header included. */
  length = 0;
  kind: TransitKind = "malformed";
  /** Offsets of the addresses. */
  source = 0;
  destination = 0;
  /** For an echo both are its identifier; 0 where there are none. */
  sourcePort = 0;
  destinationPort = 0;
  /** TCP's; 0 in a quoted packet. */
  flags = 0;
  /** Of a fragmented packet, the first fragment's too; 0 of a whole one. */
  identification = 0;
  isFragmented = false;
  protocol = 0;
  /** Offset of what is behind IP's headers; 0 where that is not told. */
  transport = 0;
  /** Offset of IPv6's Fragment header, 0 without one. */
  fragmentHeader = 0;
  /** Offset of the IP packet that an error is about. */
  quoted = 0;
  /** Offset of its end, or of what there is of it. */
  end = 0;
  readonly #chain = new HeaderChain();

  /** The packet of `length` bytes at `offset`, whose IP header has been checked. */
  parse(buffer: Uint8Array, offset: number, length: number, version: IpVersion): void {
    this.#parse(buffer, offset, length, version, false);
  }

  /**
   * Describes the packet that `error` is about, which begins with its first bytes.
   *
   * @returns Whether it is one whose sender is whom the error goes to.
   */
  parseQuoted(error: TransitPacket): boolean {
    const { buffer, version } = error;
    const quoted = error.quoted;
    const length = error.end - quoted;
    const least = version === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    if (length < least || buffer[quoted]! >> 4 !== version) return false;
    if (version === 4 && ipv4HeaderLength(buffer, quoted) < least) return false;
    this.from = undefined;
    this.#parse(buffer, quoted, length, version, true);
    const size = version === 4 ? 4 : 16;
    for (let i = 0; i < size; i++) {
      if (buffer[this.source + i] !== buffer[error.destination + i]) return false;
    }
    return true;
  }

  #parse(
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: IpVersion,
    isQuoted: boolean,
  ): void {
    this.buffer = buffer;
    this.version = version;
    this.offset = offset;
    this.length = length;
    this.sourcePort =
      this.destinationPort =
      this.flags =
      this.identification =
      this.transport =
      this.fragmentHeader =
        0;
    this.isFragmented = false;
    this.end = offset + length;
    if (version === 4) this.#parseIpv4(buffer, offset, isQuoted);
    else this.#parseIpv6(buffer, offset, isQuoted);
  }

  #parseIpv4(buffer: Uint8Array, offset: number, isQuoted: boolean): void {
    this.source = offset + IPV4_SOURCE;
    this.destination = offset + IPV4_DESTINATION;
    this.protocol = buffer[offset + IPV4_PROTOCOL]!;
    const fragment = readUint16(buffer, offset + IPV4_FRAGMENT);
    if ((fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) !== 0) {
      this.isFragmented = true;
      this.identification = readUint16(buffer, offset + IPV4_IDENTIFICATION);
    }
    const transport = offset + ipv4HeaderLength(buffer, offset);
    this.#parseTransport(buffer, transport, fragment & FRAGMENT_OFFSET_MASK, isQuoted);
  }

  #parseIpv6(buffer: Uint8Array, offset: number, isQuoted: boolean): void {
    this.source = offset + IPV6_SOURCE;
    this.destination = offset + IPV6_DESTINATION;
    const chain = this.#chain;
    const field = offset + IPV6_NEXT_HEADER;
    const end = this.end;
    let place = 0;
    let stop = chain.walk(buffer, buffer[field]!, offset + IPV6_HEADER_LENGTH, field, end);
    if (stop === "fragment") {
      const header = chain.offset;
      const fragment = readUint16(buffer, header + FRAGMENT_OFFSET);
      this.fragmentHeader = header;
      // RFC 6946: a "fragment" that is the whole packet has nothing to do with any other.
      if ((fragment & ~6) !== 0) {
        this.isFragmented = true;
        this.identification = readUint32(buffer, header + FRAGMENT_IDENTIFICATION);
        place = fragment >> 3;
      }
      if (place === 0) {
        stop = chain.walk(buffer, buffer[header]!, header + FRAGMENT_HEADER_LENGTH, header, end);
      } else {
        this.protocol = buffer[header]!;
        this.kind = "fragment";
        return;
      }
    }
    if (stop !== "upper") {
      // What a router does not look at is the receiver's to refuse; but nothing can be decided of it.
      this.kind = "malformed";
      return;
    }
    this.protocol = chain.protocol;
    this.#parseTransport(buffer, chain.offset, 0, isQuoted);
  }

  /** @param place The fragment's offset, in units of 8 bytes. */
  #parseTransport(buffer: Uint8Array, at: number, place: number, isQuoted: boolean): void {
    this.transport = at;
    const { protocol, version } = this;
    const left = this.end - at;
    if (place > 0) {
      // RFC 3128: a fragment that would overwrite the flags of a TCP header after it was checked.
      this.kind = protocol === PROTOCOL_TCP && place === 1 ? "malformed" : "fragment";
      return;
    }
    this.kind = "malformed";
    if (protocol === PROTOCOL_TCP) {
      if (left < (isQuoted ? QUOTED_LENGTH : TCP_HEADER_LENGTH)) return;
      this.#readPorts(buffer, at);
      if (!isQuoted) this.flags = buffer[at + FLAGS]!;
      this.kind = "tcp";
    } else if (protocol === PROTOCOL_UDP) {
      if (left < UDP_HEADER_LENGTH) return;
      this.#readPorts(buffer, at);
      this.kind = "udp";
    } else if (protocol === (version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
      if (left < ICMP_HEADER_LENGTH) return;
      this.#parseIcmp(buffer, at);
    } else this.kind = "other";
  }

  #readPorts(buffer: Uint8Array, at: number): void {
    this.sourcePort = readUint16(buffer, at);
    this.destinationPort = readUint16(buffer, at + 2);
  }

  #parseIcmp(buffer: Uint8Array, at: number): void {
    const { version } = this;
    const type = buffer[at]!;
    const isIpv4 = version === 4;
    if (type === (isIpv4 ? ECHO_REQUEST : V6_ECHO_REQUEST)) this.kind = "echo-request";
    else if (type === (isIpv4 ? ECHO_REPLY : V6_ECHO_REPLY)) this.kind = "echo-reply";
    else if (icmpErrorKind(version, type, buffer[at + 1]!) !== undefined) {
      this.kind = "icmp-error";
      this.quoted = at + ICMP_HEADER_LENGTH;
      return;
    } else {
      this.kind = "other";
      return;
    }
    this.sourcePort = this.destinationPort = readUint16(buffer, at + 4);
  }
}
