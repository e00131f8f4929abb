/**
 * Addresses, ports and identifiers exchanged in a packet, and in the one that an ICMP error quotes.
 *
 * @module
 */

import { readUint16 } from "../bytes.ts";
import { DONT_FRAGMENT, IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_IDENTIFICATION } from "../ipv4.ts";
import { FRAGMENT_IDENTIFICATION } from "../ipv6.ts";
import type { TransitPacket } from "../transit.ts";
import { UDP_CHECKSUM, UDP_DESTINATION_PORT, UDP_SOURCE_PORT } from "../udp_header.ts";
import { ICMP_IDENTIFIERS, sizeOf, UDP_PORTS } from "./mappings.ts";
import type { Rewrite } from "./rewrite.ts";

const ICMP_CHECKSUM = 2;
const ICMP_IDENTIFIER = 4;
const TCP_CHECKSUM = 16;

/** Puts another address, which is at `offset` of `address`, and port in the place of the source. */
export function translateSource(
  rewrite: Rewrite,
  packet: TransitPacket,
  space: number,
  address: Uint8Array,
  offset: number,
  port: number,
): void {
  translate(rewrite, packet, space, packet.source, address, offset, UDP_SOURCE_PORT, port);
}

/** The same for the destination. */
export function translateDestination(
  rewrite: Rewrite,
  packet: TransitPacket,
  space: number,
  address: Uint8Array,
  offset: number,
  port: number,
): void {
  translate(
    rewrite,
    packet,
    space,
    packet.destination,
    address,
    offset,
    UDP_DESTINATION_PORT,
    port,
  );
}

/**
 * An ICMP error from beyond to whom the quoted packet is from, or from there about one that came in:
 * the address stands in the error's header and in the one that it quotes (RFC 5508 REQ-4, REQ-5).
 *
 * @param space Of the quoted packet's ports.
 */
export function translateError(
  rewrite: Rewrite,
  packet: TransitPacket,
  quoted: TransitPacket,
  space: number,
  isInbound: boolean,
  address: Uint8Array,
  offset: number,
  port: number,
): void {
  const outer = isInbound ? packet.destination : packet.source;
  const change = translateAddress(rewrite, packet, outer, address, offset);
  const inner = isInbound ? quoted.source : quoted.destination;
  const portAt = isInbound ? UDP_SOURCE_PORT : UDP_DESTINATION_PORT;
  const payload = translate(rewrite, quoted, space, inner, address, offset, portAt, port);
  // RFC 4443 §2.3: ICMPv6's checksum covers the addresses of its own header.
  const covered = packet.version === 4 ? payload : payload + change;
  rewrite.checksum(packet.transport + ICMP_CHECKSUM, covered);
}

/** An address at `at` of a packet alone, as of a fragment behind the first. */
export function translateAddress(
  rewrite: Rewrite,
  packet: TransitPacket,
  at: number,
  address: Uint8Array,
  offset: number,
): number {
  const isIpv4 = packet.version === 4;
  const change = rewrite.address(at, address, offset, isIpv4 ? 4 : 16);
  if (isIpv4) rewrite.checksum(packet.offset + IPV4_CHECKSUM, change);
  return change;
}

/** Whether the packet's identification means anything (RFC 6864 §4.1). */
export function hasIdentification(packet: TransitPacket): boolean {
  const { version, buffer, offset, isFragmented } = packet;
  if (version === 6) return isFragmented;
  return (readUint16(buffer, offset + IPV4_FRAGMENT) & DONT_FRAGMENT) === 0;
}

/** Gives a packet that is or may become fragments another identification: 16 bits, or 32. */
export function renumber(rewrite: Rewrite, packet: TransitPacket, identification: number): void {
  const { version, offset, fragmentHeader } = packet;
  if (version === 4) {
    const change = rewrite.word(offset + IPV4_IDENTIFICATION, identification);
    rewrite.checksum(offset + IPV4_CHECKSUM, change);
    return;
  }
  const at = fragmentHeader + FRAGMENT_IDENTIFICATION;
  rewrite.word(at, identification >>> 16);
  rewrite.word(at + 2, identification & 0xffff);
}

/** @returns What all the changes add to a sum that covers the whole packet. */
function translate(
  rewrite: Rewrite,
  packet: TransitPacket,
  space: number,
  addressAt: number,
  address: Uint8Array,
  offset: number,
  portAt: number,
  port: number,
): number {
  const { transport, end } = packet;
  const isIpv4 = packet.version === 4;
  const change = rewrite.address(addressAt, address, offset, sizeOf(space));
  let all = change;
  if (isIpv4) all += rewrite.checksum(packet.offset + IPV4_CHECKSUM, change);
  if (space >= ICMP_IDENTIFIERS) {
    const ofPort = rewrite.word(transport + ICMP_IDENTIFIER, port);
    const covered = isIpv4 ? ofPort : ofPort + change;
    return all + ofPort + rewrite.checksum(transport + ICMP_CHECKSUM, covered);
  }
  const ofPort = rewrite.word(transport + portAt, port);
  all += ofPort;
  if (space >= UDP_PORTS) {
    return all + rewrite.udpChecksum(transport + UDP_CHECKSUM, change + ofPort);
  }
  // What is quoted of a segment may end before its checksum.
  if (transport + TCP_CHECKSUM + 2 > end) return all;
  return all + rewrite.checksum(transport + TCP_CHECKSUM, change + ofPort);
}
