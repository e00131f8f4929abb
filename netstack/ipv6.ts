/**
 * The IPv6 header in place (RFC 8200 §3) and its extension headers (§4).
 *
 * @module
 */

import { copyBytes, readUint16, writeUint16, writeUint32 } from "./bytes.ts";
import { MALFORMED } from "./ipv4.ts";

export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
/** Of the addresses, from the beginning of the header. */
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;
export const IPV6_HEADER_LENGTH = 40;

export const IPV6_FRAGMENT = 44;
/** Offsets in the Fragment header (RFC 8200 §4.5). */
export const FRAGMENT_OFFSET = 2;
export const FRAGMENT_IDENTIFICATION = 4;
export const FRAGMENT_HEADER_LENGTH = 8;

const HOP_BY_HOP = 0;
const ROUTING = 43;
const NO_NEXT_HEADER = 59;
const DESTINATION_OPTIONS = 60;

/** Extension headers a packet may have; real ones have at most three (RFC 9098 §7 on limits). */
const MAX_EXTENSIONS = 8;

/**
 * Checks the header of the packet of `length` bytes at `offset`.
 *
 * @returns Its length, header included, which may be less than `length`; or {@link MALFORMED}.
 */
export function validateIpv6(buffer: Uint8Array, offset: number, length: number): number {
  if (length < IPV6_HEADER_LENGTH || buffer[offset]! >> 4 !== 6) return MALFORMED;
  const totalLength = IPV6_HEADER_LENGTH + readUint16(buffer, offset + IPV6_PAYLOAD_LENGTH);
  return totalLength > length ? MALFORMED : totalLength;
}

export function writeIpv6Header(
  buffer: Uint8Array,
  offset: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
  source: Uint8Array,
  sourceOffset: number,
  destination: Uint8Array,
  destinationOffset: number,
): void {
  writeUint32(buffer, offset, 0x60000000);
  writeUint16(buffer, offset + IPV6_PAYLOAD_LENGTH, payloadLength);
  buffer[offset + IPV6_NEXT_HEADER] = nextHeader;
  buffer[offset + IPV6_HOP_LIMIT] = hopLimit;
  copyBytes(source, sourceOffset, buffer, offset + IPV6_SOURCE, 16);
  copyBytes(destination, destinationOffset, buffer, offset + IPV6_DESTINATION, 16);
}

/** ::, ::1, ::ffff:0:0/96 and ff00::/8: never a remote host's (RFC 6890, RFC 4291 §2.7). */
export function isMartianIpv6(buffer: Uint8Array, offset: number): boolean {
  if (buffer[offset] === 0xff) return true;
  for (let i = 0; i < 10; i++) if (buffer[offset + i] !== 0) return false;
  const mark = readUint16(buffer, offset + 10);
  if (mark === 0xffff) return true;
  if (mark !== 0) return false;
  return readUint16(buffer, offset + 12) === 0 && buffer[offset + 14] === 0 &&
    buffer[offset + 15]! <= 1;
}

/** What {@link HeaderChain.walk} stops at. */
export type ChainEnd =
  /** A header that is no extension: `protocol` and `offset` say which and where. */
  | "upper"
  /** A Fragment header, at `offset`. */
  | "fragment"
  /** No Next Header, or malformed: dropped in silence. */
  | "drop"
  /** A routing header with hops to go: `pointer` (RFC 8200 §4.4). */
  | "routing"
  /** An option that must be understood: `pointer`, and whether even multicast is told (§4.2). */
  | "option";

/** The extension headers of one packet, walked to the first one that IP does not skip. */
export class HeaderChain {
  protocol = 0;
  offset = 0;
  /** Offset of the Next Header field that holds {@link protocol}. */
  nextHeaderField = 0;
  /** Offset of the byte a Parameter Problem points to. */
  pointer = 0;

  /**
   * Walks on from the header of type `protocol` at `offset`.
   *
   * @param nextHeaderField Offset of the field that holds `type`.
   * @param end Where the packet ends.
   */
  walk(
    buffer: Uint8Array,
    protocol: number,
    offset: number,
    nextHeaderField: number,
    end: number,
  ): ChainEnd {
    this.protocol = protocol;
    this.offset = offset;
    this.nextHeaderField = nextHeaderField;
    for (let count = 0; count <= MAX_EXTENSIONS; count++) {
      const type = this.protocol;
      if (type === NO_NEXT_HEADER) return "drop";
      if (type === IPV6_FRAGMENT) {
        return this.offset + FRAGMENT_HEADER_LENGTH <= end ? "fragment" : "drop";
      }
      // Only directly behind the IPv6 header (RFC 8200 §4.3); elsewhere it is an unknown header.
      const isOptions = type === DESTINATION_OPTIONS || (type === HOP_BY_HOP && count === 0);
      if (!isOptions && type !== ROUTING) return "upper";
      if (this.offset + 8 > end) return "drop";
      const length = (buffer[this.offset + 1]! + 1) * 8;
      if (this.offset + length > end) return "drop";
      if (type === ROUTING) {
        if (buffer[this.offset + 3] !== 0) {
          this.pointer = this.offset + 2;
          return "routing";
        }
      } else {
        const verdict = this.#checkOptions(buffer, this.offset + 2, this.offset + length);
        if (verdict !== "upper") return verdict;
      }
      this.nextHeaderField = this.offset;
      this.protocol = buffer[this.offset]!;
      this.offset += length;
    }
    return "drop";
  }

  /** RFC 8200 §4.2: the two upper bits of an unknown option's type say what becomes of the packet. */
  #checkOptions(buffer: Uint8Array, offset: number, end: number): ChainEnd {
    while (offset < end) {
      const type = buffer[offset]!;
      if (type === 0) { // Pad1
        offset++;
        continue;
      }
      if (offset + 2 > end) return "drop";
      if (type >> 6 === 1) return "drop";
      if (type >> 6 >= 2) {
        this.pointer = offset;
        return "option";
      }
      offset += 2 + buffer[offset + 1]!;
    }
    return offset === end ? "upper" : "drop";
  }
}
