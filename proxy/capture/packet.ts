/**
 * What a packet is, as far as filters and comments ask. One object, refilled for each.
 *
 * @module
 */

import {
  IPV4_DESTINATION,
  IPV4_HEADER_LENGTH,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_SOURCE,
  PROTOCOL_UDP,
  TransitPacket,
} from "../../netstack/mod.ts";
import type { Direction } from "../link/tap.ts";

export class CapturedPacket {
  direction: Direction = "in";
  /** Borrowed, with what follows, until the packet has been handled. */
  buffer: Uint8Array = new Uint8Array(0);
  /** 0: what lies there is no IP packet. */
  version: 0 | 4 | 6 = 0;
  /** IANA's number; -1 where there is none. */
  protocol = -1;
  /** Offsets of the addresses. */
  source = 0;
  destination = 0;
  /** Of TCP and UDP; -1 where there are none, as in a fragment behind the first. */
  sourcePort = -1;
  destinationPort = -1;
  /** A ping's; -1 for anything else. */
  identifier = -1;
  /** Who sent it, as far as the tap knows. */
  from: unknown = undefined;
  /** The packet that an ICMP error is about; undefined in any other. */
  quoted: CapturedPacket | undefined = undefined;
  readonly #transit = new TransitPacket();
  #quote: CapturedPacket | undefined;

  /** @param length Of what came, which may be no IP packet at all. */
  parse(
    direction: Direction,
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: unknown,
  ): void {
    this.direction = direction;
    this.from = from;
    this.buffer = buffer;
    this.version = ipVersion(buffer, offset, length);
    if (this.version === 0) return this.#clear();
    const transit = this.#transit;
    transit.protocol = -1;
    transit.parse(buffer, offset, length, this.version);
    this.#describe(transit);
    this.quoted = undefined;
    if (transit.kind !== "icmp-error") return;
    // Made with the first error: most captures meet none.
    this.#quote ??= new CapturedPacket();
    if (this.#quote.#parseQuoted(transit)) this.quoted = this.#quote;
  }

  /** A UDP datagram, of which `buffer` has the headers. */
  setDatagram(
    direction: Direction,
    buffer: Uint8Array,
    version: 4 | 6,
    sourcePort: number,
    destinationPort: number,
  ): void {
    this.#clear();
    this.direction = direction;
    this.from = undefined;
    this.buffer = buffer;
    this.version = version;
    this.protocol = PROTOCOL_UDP;
    this.source = ADDRESS_OFFSETS[version].source;
    this.destination = ADDRESS_OFFSETS[version].destination;
    this.sourcePort = sourcePort;
    this.destinationPort = destinationPort;
  }

  #parseQuoted(error: TransitPacket): boolean {
    const transit = this.#transit;
    transit.protocol = -1;
    if (!transit.parseQuoted(error)) return false;
    this.buffer = error.buffer;
    this.version = error.version;
    this.#describe(transit);
    return true;
  }

  #describe(transit: TransitPacket): void {
    const { kind } = transit;
    this.protocol = transit.protocol;
    this.source = transit.source;
    this.destination = transit.destination;
    const hasPorts = kind === "tcp" || kind === "udp";
    this.sourcePort = hasPorts ? transit.sourcePort : -1;
    this.destinationPort = hasPorts ? transit.destinationPort : -1;
    const isEcho = kind === "echo-request" || kind === "echo-reply";
    this.identifier = isEcho ? transit.sourcePort : -1;
  }

  #clear(): void {
    this.protocol =
      this.sourcePort =
      this.destinationPort =
      this.identifier =
        -1;
    this.quoted = undefined;
  }
}

/** @returns 0 unless a whole IP header is there. */
function ipVersion(buffer: Uint8Array, offset: number, length: number): 0 | 4 | 6 {
  if (length < IPV4_HEADER_LENGTH) return 0;
  const first = buffer[offset]!;
  if (first >> 4 === 6) return length >= IPV6_HEADER_LENGTH ? 6 : 0;
  const headerLength = (first & 0xf) * 4;
  if (first >> 4 !== 4 || headerLength < IPV4_HEADER_LENGTH || headerLength > length) return 0;
  return 4;
}

/** Offset of the addresses in a packet of a version. */
export const ADDRESS_OFFSETS = {
  4: { source: IPV4_SOURCE, destination: IPV4_DESTINATION },
  6: { source: IPV6_SOURCE, destination: IPV6_DESTINATION },
} as const;
