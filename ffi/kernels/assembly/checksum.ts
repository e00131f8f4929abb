// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * The Internet checksum (RFC 1071).
 *
 * @module
 */

/**
 * Adds the 16-bit big-endian words of `length` bytes at `at`, an odd last byte as the upper half of
 * a word, and folds the sum to 16 bits. Only zeros give zero.
 *
 * The bytes are added as little-endian words of 32 bits: one's complement sums do not mind the width
 * of a word (RFC 1071 §2 C), and the bytes are swapped at the end (§2 B).
 */
export function sum(at: usize, length: usize): u32 {
  const lowWords = i64x2.splat(0xffffffff);
  let low = i64x2.splat(0);
  let high = i64x2.splat(0);
  const end = at + (length & ~15);
  for (; at < end; at += 16) {
    const words = v128.load(at);
    low = i64x2.add(low, v128.and(words, lowWords));
    high = i64x2.add(high, i64x2.shr_u(words, 32));
  }
  const both = i64x2.add(low, high);
  let total = i64x2.extract_lane(both, 0) + i64x2.extract_lane(both, 1);
  if (length & 8) {
    total += <u64> load<u32>(at) + load<u32>(at, 4);
    at += 8;
  }
  if (length & 4) {
    total += load<u32>(at);
    at += 4;
  }
  if (length & 2) {
    total += load<u16>(at);
    at += 2;
  }
  if (length & 1) total += load<u8>(at);

  total = (total >>> 32) + (total & 0xffffffff);
  total = (total >>> 16) + (total & 0xffff);
  total = (total >>> 16) + (total & 0xffff);
  total = (total >>> 16) + (total & 0xffff);
  return <u32> (total << 8 | total >> 8) & 0xffff;
}
