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

function readU16(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! << 8 | buffer[offset + 1]!;
}
