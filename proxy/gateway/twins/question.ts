/**
 * What a silent peer is asked: an echo request (RFC 792, RFC 4443).
 *
 * @module
 */

import {
  ECHO_REQUEST,
  type IpAddress,
  IPV4_HEADER_LENGTH,
  IPV6_HEADER_LENGTH,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  V6_ECHO_REQUEST,
  writeIcmpChecksum,
  writeIpv4Header,
  writeIpv6Header,
} from "../../../netstack/mod.ts";

const ICMP_HEADER_LENGTH = 8;
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
  const { version } = source;
  const isIpv4 = version === 4;
  const headerLength = isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
  const total = headerLength + ICMP_HEADER_LENGTH;
  const ends = [source.bytes, 0, destination.bytes, 0] as const;
  if (isIpv4) writeIpv4Header(buffer, offset, total, 0, 0, HOP_LIMIT, PROTOCOL_ICMP, ...ends);
  else writeIpv6Header(buffer, offset, ICMP_HEADER_LENGTH, PROTOCOL_ICMPV6, HOP_LIMIT, ...ends);
  const message = offset + headerLength;
  const view = new DataView(buffer.buffer, buffer.byteOffset + message, ICMP_HEADER_LENGTH);
  view.setUint8(0, isIpv4 ? ECHO_REQUEST : V6_ECHO_REQUEST);
  view.setUint8(1, 0);
  view.setUint16(4, identifier);
  view.setUint16(6, sequence);
  writeIcmpChecksum(buffer, message, ICMP_HEADER_LENGTH, version);
  return total;
}
