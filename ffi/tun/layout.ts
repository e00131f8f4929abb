/**
 * What a TUN device's packets are made of, where both halves of the offloads look: the header that the
 * kernel puts in front (struct virtio_net_hdr, <linux/virtio_net.h>), and fields of IP, TCP and UDP.
 *
 * @module
 */

/** Adds 16-bit big-endian words to `initial`, unfolded: the Internet checksum's sum (RFC 1071). */
export type Sum = (buffer: Uint8Array, offset: number, length: number, initial: number) => number;

/** Bytes of a struct virtio_net_hdr: its fields are in the byte order of this machine. */
export const VNET_HEADER = 10;
export const VNET_FLAGS = 0;
export const VNET_GSO_TYPE = 1;
export const VNET_HEADER_LENGTH = 2;
export const VNET_GSO_SIZE = 4;
export const VNET_CSUM_START = 6;
export const VNET_CSUM_OFFSET = 8;
/** The checksum field holds the pseudo header's sum alone. */
export const F_NEEDS_CSUM = 1;
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
/** Beside a type: the first segment alone has CWR. */
export const GSO_ECN = 0x80;

/** The largest IPv4 packet. */
export const MAX_PACKET = 65_535;

export const IPV4_HEADER = 20;
export const IPV4_LENGTH = 2;
export const IPV4_ID = 4;
export const IPV4_FRAGMENT = 6;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const DONT_FRAGMENT = 0x4000;
/** More fragments, and the offset: not zero in a fragment. */
export const IS_FRAGMENT = 0x3fff;

export const IPV6_HEADER = 40;
export const IPV6_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_SOURCE = 8;

export const TCP = 6;
export const TCP_HEADER = 20;
export const TCP_SEQUENCE = 4;
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_CHECKSUM = 16;
export const FIN = 0x01;
export const PSH = 0x08;
export const ACK = 0x10;
export const ECE = 0x40;
export const CWR = 0x80;

export const UDP = 17;
export const UDP_HEADER = 8;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;

export function read16(buffer: Uint8Array, at: number): number {
  return buffer[at]! << 8 | buffer[at + 1]!;
}

export function write16(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value >>> 8;
  buffer[at + 1] = value;
}

/** The same bits, signed: V8 keeps an int32 unboxed. */
export function read32(buffer: Uint8Array, at: number): number {
  return buffer[at]! << 24 | buffer[at + 1]! << 16 | buffer[at + 2]! << 8 | buffer[at + 3]!;
}

export function write32(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
}

/** Of a struct virtio_net_hdr. x86-64 and ARM64 are little-endian. */
export function readVnet16(buffer: Uint8Array, at: number): number {
  return buffer[at]! | buffer[at + 1]! << 8;
}

export function writeVnet16(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value;
  buffer[at + 1] = value >>> 8;
}

/** Brings an unfolded sum down to 16 bits (RFC 1071 §4.1). */
export function fold(sum: number): number {
  sum = (sum >>> 16) + (sum & 0xffff);
  return (sum >>> 16) + (sum & 0xffff);
}

/** Where there is no faster {@link Sum}: of a few hundred kilobytes at most. */
export function plainSum(
  buffer: Uint8Array,
  offset: number,
  length: number,
  initial: number,
): number {
  let high = 0;
  let low = 0;
  const end = offset + (length & ~1);
  let at = offset;
  for (; at < end; at += 2) {
    high += buffer[at]!;
    low += buffer[at + 1]!;
  }
  if ((length & 1) !== 0) high += buffer[at]!;
  // 64 KiB of bytes in the upper half have 31 bits: folded before the addition.
  return initial + fold(high * 256 >>> 0) + low;
}
