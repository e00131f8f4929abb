/**
 * As much of the inner packet as cryptokey routing has to read: version, addresses, length.
 *
 * @module
 */

// RFC 791 §3.1
export const IPV4_HEADER_SIZE = 20;
const IPV4_TOTAL_LENGTH = 2;
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;

// RFC 8200 §3
export const IPV6_HEADER_SIZE = 40;
const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;

/** 4, 6, or 0 for anything that is too short or neither. */
export function innerVersion(buffer: Uint8Array, offset: number, length: number): 4 | 6 | 0 {
  if (length < IPV4_HEADER_SIZE) return 0;
  const version = buffer[offset]! >>> 4;
  if (version === 4) return 4;
  return version === 6 && length >= IPV6_HEADER_SIZE ? 6 : 0;
}

/**
 * The length the header states, which the padding is cut down to.
 *
 * @returns -1 if it does not fit into `length` bytes.
 */
export function innerLength(
  buffer: Uint8Array,
  offset: number,
  length: number,
  version: 4 | 6,
): number {
  const total = version === 4
    ? readU16(buffer, offset + IPV4_TOTAL_LENGTH)
    // Not in 16 bits: a payload length of 65,496 or more must not wrap around to a small one.
    : readU16(buffer, offset + IPV6_PAYLOAD_LENGTH) + IPV6_HEADER_SIZE;
  return total > length || total < IPV4_HEADER_SIZE ? -1 : total;
}

/**
 * Whether the address at `offset` is unspecified or link-local: hosts send from these by themselves,
 * to nobody behind a tunnel (RFC 4291 §2.5.2, §2.5.6; RFC 1122 §3.2.1.3, RFC 3927).
 */
export function isHostsOwn(buffer: Uint8Array, offset: number, version: 4 | 6): boolean {
  const [first, second] = [buffer[offset]!, buffer[offset + 1]!];
  if (version === 4) return first === 0 || first === 169 && second === 254;
  if (first === 0xfe && (second & 0xc0) === 0x80) return true;
  for (let i = 0; i < 16; i++) {
    if (buffer[offset + i] !== 0) return false;
  }
  return true;
}

function readU16(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! << 8 | buffer[offset + 1]!;
}
