/**
 * The Internet checksum (RFC 1071).
 *
 * @module
 */

/**
 * Adds the 16-bit big-endian words of `length` bytes to `initial`. An odd last byte counts as if a
 * zero followed. The result is exact and unfolded: sums may be chained as long as every part but
 * the last has an even length.
 */
export function sum(buffer: Uint8Array, offset: number, length: number, initial: number): number {
  let total = initial;
  let i = offset;
  const end = offset + length;
  // Eight words a turn: below 2^53 for any packet, so no folding on the way.
  for (const stop = end - 15; i < stop; i += 16) {
    total += ((buffer[i]! + buffer[i + 2]! + buffer[i + 4]! + buffer[i + 6]! +
      buffer[i + 8]! + buffer[i + 10]! + buffer[i + 12]! + buffer[i + 14]!) << 8) +
      buffer[i + 1]! + buffer[i + 3]! + buffer[i + 5]! + buffer[i + 7]! +
      buffer[i + 9]! + buffer[i + 11]! + buffer[i + 13]! + buffer[i + 15]!;
  }
  for (const stop = end - 1; i < stop; i += 2) total += (buffer[i]! << 8) + buffer[i + 1]!;
  if (i < end) total += buffer[i]! << 8;
  return total;
}

/** Folds to 16 bits and complements: the value for the header. Over a correct packet it is 0. */
export function finish(total: number): number {
  let folded = total % 0x100000000;
  folded = (folded >>> 16) + (folded & 0xffff) + Math.floor(total / 0x100000000);
  folded = (folded >>> 16) + (folded & 0xffff);
  folded = (folded >>> 16) + (folded & 0xffff);
  return ~folded & 0xffff;
}
