/**
 * The IPv4 header in place (RFC 791 §3.1).
 *
 * @module
 */

import { copyBytes, readUint16, writeUint16 } from "./bytes.ts";
import { finish, fold, sum, update } from "./checksum.ts";

export const IPV4_TOS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_IDENTIFICATION = 4;
/** Three flags and the fragment offset in units of 8 bytes. */
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
/** Of the addresses, from the beginning of the header. */
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;
/** Bytes without options. */
export const IPV4_HEADER_LENGTH = 20;

export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
export const FRAGMENT_OFFSET_MASK = 0x1fff;

/** Negative results of {@link validateIpv4}. */
export const MALFORMED = -1;
export const BAD_CHECKSUM = -2;

/**
 * Checks the header of the packet of `length` bytes at `offset`.
 *
 * @returns Its total length, which may be less than `length`; or why it is dropped, negative.
 */
export function validateIpv4(buffer: Uint8Array, offset: number, length: number): number {
  if (length < IPV4_HEADER_LENGTH || buffer[offset]! >> 4 !== 4) return MALFORMED;
  const headerLength = ipv4HeaderLength(buffer, offset);
  if (headerLength < IPV4_HEADER_LENGTH || headerLength > length) return MALFORMED;
  const totalLength = readUint16(buffer, offset + IPV4_TOTAL_LENGTH);
  if (totalLength < headerLength || totalLength > length) return MALFORMED;
  if (fold(sum(buffer, offset, headerLength, 0)) !== 0xffff) return BAD_CHECKSUM;
  return totalLength;
}

export function ipv4HeaderLength(buffer: Uint8Array, offset: number): number {
  return (buffer[offset]! & 0x0f) * 4;
}

/** What {@link checkIpv4Options} finds. */
export const OPTIONS_FINE = 0;
export const OPTIONS_MALFORMED = 1;
export const OPTIONS_SOURCE_ROUTE = 2;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_LSRR = 131;
const OPTION_SSRR = 137;
/** The option goes into every fragment (RFC 791 §3.1). */
const OPTION_COPIED = 0x80;

/** Options are skipped, except that malformed ones and source routes (RFC 7126 §4.3) are refused. */
export function checkIpv4Options(buffer: Uint8Array, offset: number, headerLength: number): number {
  const end = offset + headerLength;
  for (let i = offset + IPV4_HEADER_LENGTH; i < end;) {
    const type = buffer[i]!;
    if (type === OPTION_END) return OPTIONS_FINE;
    if (type === OPTION_NOP) {
      i++;
      continue;
    }
    // A length of 0 or 1 would never end.
    const length = i + 1 < end ? buffer[i + 1]! : 0;
    if (length < 2 || i + length > end) return OPTIONS_MALFORMED;
    if (type === OPTION_LSRR || type === OPTION_SSRR) return OPTIONS_SOURCE_ROUTE;
    i += length;
  }
  return OPTIONS_FINE;
}

/**
 * Writes the header of a fragment that is not the first: the fixed part and those options that go
 * into every fragment (RFC 791 §3.2), padded. Lengths, flags and checksum are the caller's.
 *
 * @returns Its length.
 */
export function copyHeaderForFragment(
  from: Uint8Array,
  offset: number,
  headerLength: number,
  into: Uint8Array,
  intoOffset: number,
): number {
  copyBytes(from, offset, into, intoOffset, IPV4_HEADER_LENGTH);
  const end = offset + headerLength;
  let at = intoOffset + IPV4_HEADER_LENGTH;
  for (let i = offset + IPV4_HEADER_LENGTH; i < end && from[i] !== OPTION_END;) {
    const length = from[i] === OPTION_NOP ? 1 : from[i + 1]!;
    if ((from[i]! & OPTION_COPIED) !== 0) {
      copyBytes(from, i, into, at, length);
      at += length;
    }
    i += length;
  }
  while ((at - intoOffset & 3) !== 0) into[at++] = OPTION_END;
  const length = at - intoOffset;
  into[intoOffset] = 0x40 | length >> 2;
  return length;
}

/** Writes a header without options. Addresses come from any buffers, also a received packet. */
export function writeIpv4Header(
  buffer: Uint8Array,
  offset: number,
  totalLength: number,
  identification: number,
  fragment: number,
  hopLimit: number,
  protocol: number,
  source: Uint8Array,
  sourceOffset: number,
  destination: Uint8Array,
  destinationOffset: number,
): void {
  buffer[offset] = 0x45;
  buffer[offset + IPV4_TOS] = 0;
  writeUint16(buffer, offset + IPV4_TOTAL_LENGTH, totalLength);
  writeUint16(buffer, offset + IPV4_IDENTIFICATION, identification);
  writeUint16(buffer, offset + IPV4_FRAGMENT, fragment);
  buffer[offset + IPV4_TTL] = hopLimit;
  buffer[offset + IPV4_PROTOCOL] = protocol;
  copyBytes(source, sourceOffset, buffer, offset + IPV4_SOURCE, 4);
  copyBytes(destination, destinationOffset, buffer, offset + IPV4_DESTINATION, 4);
  writeIpv4Checksum(buffer, offset, IPV4_HEADER_LENGTH);
}

export function writeIpv4Checksum(buffer: Uint8Array, offset: number, headerLength: number): void {
  writeUint16(buffer, offset + IPV4_CHECKSUM, 0);
  writeUint16(buffer, offset + IPV4_CHECKSUM, finish(sum(buffer, offset, headerLength, 0)));
}

/** One hop (RFC 1812 §5.3.1), the checksum kept right. */
export function decrementTtl(buffer: Uint8Array, offset: number): void {
  const before = readUint16(buffer, offset + IPV4_TTL);
  buffer[offset + IPV4_TTL]!--;
  const checksum = readUint16(buffer, offset + IPV4_CHECKSUM);
  writeUint16(buffer, offset + IPV4_CHECKSUM, update(checksum, before, before - 0x100));
}

/** 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/4 and 240.0.0.0/4: never a remote host's (RFC 6890). */
export function isMartianIpv4(buffer: Uint8Array, offset: number): boolean {
  const first = buffer[offset]!;
  return first === 0 || first === 127 || first >= 224;
}
