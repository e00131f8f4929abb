/**
 * What a silent peer is asked: an echo request (RFC 792, RFC 4443).
 *
 * @module
 */

import {
  type IpAddress,
  IPV4_DESTINATION,
  IPV4_HEADER_LENGTH,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_SOURCE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
} from "../../../netstack/mod.ts";

const ICMP_HEADER_LENGTH = 8;
const V4_ECHO_REQUEST = 8;
const V6_ECHO_REQUEST = 128;
const HOP_LIMIT = 64;

/**
 * Writes an IP packet with an echo request to `offset`.
 *
 * @param destination Of the family of `source`.
 * @returns its length, bytes.
 */
export function writeQuestion(
  buffer: Uint8Array,
  offset: number,
  source: IpAddress,
  destination: IpAddress,
  identifier: number,
  sequence: number,
): number {
  const isIpv4 = source.version === 4;
  const headerLength = isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
  const total = headerLength + ICMP_HEADER_LENGTH;
  const view = new DataView(buffer.buffer, buffer.byteOffset + offset, total);
  buffer.fill(0, offset, offset + total);
  buffer.set(source.bytes, offset + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE));
  buffer.set(destination.bytes, offset + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION));
  if (isIpv4) {
    view.setUint8(0, 0x45);
    view.setUint16(2, total);
    view.setUint8(8, HOP_LIMIT);
    view.setUint8(9, PROTOCOL_ICMP);
    view.setUint16(10, checksum(view, 0, headerLength, 0));
  } else {
    view.setUint8(0, 0x60);
    view.setUint16(4, ICMP_HEADER_LENGTH);
    view.setUint8(6, PROTOCOL_ICMPV6);
    view.setUint8(7, HOP_LIMIT);
  }
  view.setUint8(headerLength, isIpv4 ? V4_ECHO_REQUEST : V6_ECHO_REQUEST);
  view.setUint16(headerLength + 4, identifier);
  view.setUint16(headerLength + 6, sequence);
  // RFC 4443 §2.3: a pseudo header of both addresses, the length and the protocol.
  const from = isIpv4 ? headerLength : IPV6_SOURCE;
  const beside = isIpv4 ? 0 : ICMP_HEADER_LENGTH + PROTOCOL_ICMPV6;
  view.setUint16(headerLength + 2, checksum(view, from, total, beside));
  return total;
}

/** RFC 1071, of whole words. */
function checksum(view: DataView, from: number, to: number, initial: number): number {
  let sum = initial;
  for (let at = from; at < to; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
