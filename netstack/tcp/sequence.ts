/**
 * Sequence numbers (RFC 9293 §3.4): the 32 bits of the wire kept as a signed int32, which V8 stores
 * without a box. Differences are taken modulo 2^32, so the sign bit needs no care; `>>> 0` only to
 * print one.
 *
 * @module
 */

/** Whether `a` comes before `b`, both within 2^31 of each other. */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** Whether `a` comes after `b`. */
export function after(a: number, b: number): boolean {
  return ((b - a) | 0) < 0;
}

/** How far `a` is ahead of `b`, negative if behind. */
export function distance(a: number, b: number): number {
  return (a - b) | 0;
}

/** The later of the two. */
export function latest(a: number, b: number): number {
  return ((a - b) | 0) < 0 ? b : a;
}
