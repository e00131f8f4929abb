/**
 * The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit
 * big-endian words.
 *
 * @module
 */

/** Bytes after which the running sum is folded, so that it never leaves 31 bits. */
const FOLD_EVERY = 16_384;

/**
 * Adds the words of `length` bytes at `offset` to `initial`. An odd last byte counts as the upper
 * half of a word, so only the last part of a packet may have an odd length.
 *
 * @param initial Unfolded sum so far, below 2^29.
 * @returns The unfolded sum, below 2^31.
 */
export function sum(buffer: Uint8Array, offset: number, length: number, initial: number): number {
  while (length > FOLD_EVERY) {
    initial = fold(sumWords(buffer, offset, FOLD_EVERY, initial));
    offset += FOLD_EVERY;
    length -= FOLD_EVERY;
  }
  return sumWords(buffer, offset, length, initial);
}

/** {@link sum}, or a faster one with the same result once folded: what a stack may be given. */
export type Sum = typeof sum;

/** Folds an unfolded sum and complements it: the value of the checksum field. */
export function finish(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/** Brings an unfolded sum down to 16 bits (RFC 1071 §4.1). */
export function fold(sum: number): number {
  sum = (sum >>> 16) + (sum & 0xffff);
  return (sum >>> 16) + (sum & 0xffff);
}

/**
 * The checksum field after one 16-bit word of the data changed (RFC 1624 §3, equation 3).
 *
 * @param checksum The field as it is.
 */
export function update(checksum: number, before: number, after: number): number {
  return finish((~checksum & 0xffff) + (~before & 0xffff) + after);
}

/** Upper and lower bytes are added separately: one shift for the whole run, not one per word. */
function sumWords(buffer: Uint8Array, offset: number, length: number, initial: number): number {
  let high = 0;
  let low = 0;
  let i = offset;
  const unrolledEnd = offset + (length & ~15);
  for (; i < unrolledEnd; i += 16) {
    high += buffer[i]! + buffer[i + 2]! + buffer[i + 4]! + buffer[i + 6]! +
      buffer[i + 8]! + buffer[i + 10]! + buffer[i + 12]! + buffer[i + 14]!;
    low += buffer[i + 1]! + buffer[i + 3]! + buffer[i + 5]! + buffer[i + 7]! +
      buffer[i + 9]! + buffer[i + 11]! + buffer[i + 13]! + buffer[i + 15]!;
  }
  const wordsEnd = offset + (length & ~1);
  for (; i < wordsEnd; i += 2) {
    high += buffer[i]!;
    low += buffer[i + 1]!;
  }
  if (i < offset + length) high += buffer[i]!;
  return initial + (high << 8) + low;
}
