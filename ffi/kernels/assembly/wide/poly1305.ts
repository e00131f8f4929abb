// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * Poly1305 (RFC 8439 §2.5) in 64-bit limbs, products in 128 bits: four a block, and two small ones for
 * what is above 2^128.
 *
 * r is clamped: r0 and r1 are below 2^60, and r1 is a multiple of 4. So what a product carries over
 * 2^130 comes back as s1 = r1 + r1 / 4, as in `../poly1305.ts`.
 *
 * Before a block is added h2 <= 4, after it h2 <= 6: so h2·s1 < 2^63, and d0 and d1 < 2^126. What is
 * above 2^128, h2·r0 and the carry of d1, is below 2^63, and 5/4 of it below 2^64.
 *
 * @module
 */

import { BLOCK, firstBytes, KEYSTREAM } from "../layout.ts";
import { H, PAD, R, S } from "../poly1305.ts";
import { addWide, high, mulWide } from "./arithmetic.ts";

/** Takes the one-time key from the first key stream block (RFC 8439 §2.6). */
export function startMac(): void {
  const r1 = load<u64>(KEYSTREAM, 8) & 0x0ffffffc0ffffffc;
  v128.store(H, i64x2.splat(0));
  store<u64>(H, 0, 16);
  store<u64>(R, load<u64>(KEYSTREAM) & 0x0ffffffc0fffffff);
  store<u64>(R, r1, 8);
  store<u64>(S, r1 + (r1 >> 2));
  v128.store(PAD, v128.load(KEYSTREAM, 16));
}

/** Absorbs whole blocks. */
export function absorb(from: usize, end: usize): void {
  let h0 = load<u64>(H), h1 = load<u64>(H, 8), h2 = load<u64>(H, 16);
  const r0 = load<u64>(R), r1 = load<u64>(R, 8), s1 = load<u64>(S);
  for (; from < end; from += 16) {
    h0 = addWide(h0, 0, load<u64>(from), 0);
    const carry = high();
    h1 = addWide(h1, 0, load<u64>(from, 8), 0);
    h2 += high() + 1;
    h1 = addWide(h1, h2, carry, 0);
    h2 = high();
    const p0 = mulWide(h0, r0), q0 = high();
    const p1 = mulWide(h1, s1), q1 = high();
    const d0 = addWide(p0, q0, p1, q1), e0 = high();
    const p2 = mulWide(h0, r1), q2 = high();
    const p3 = mulWide(h1, r0), q3 = high();
    const p4 = addWide(p2, q2, p3, q3), q4 = high();
    const p5 = addWide(p4, q4, h2 * s1, 0), q5 = high();
    const d1 = addWide(p5, q5, e0, 0);
    const top = h2 * r0 + high();
    h0 = addWide(d0, d1, (top >> 2) + (top & ~3), 0);
    h1 = high();
    h2 = (top & 3) + u64(h1 < d1);
  }
  store<u64>(H, h0);
  store<u64>(H, h1, 8);
  store<u64>(H, h2, 16);
}

/** Absorbs the rest of the ciphertext or additional data, padded with zeros (RFC 8439 §2.8). */
export function absorbRest(from: usize, end: usize): void {
  const whole = from + ((end - from) & ~15);
  absorb(from, whole);
  if (whole === end) return;
  v128.store(BLOCK, v128.and(v128.load(whole), firstBytes(end - whole)));
  absorb(BLOCK, BLOCK + 16);
}

/** Absorbs the lengths and returns the tag. */
export function finishMac(additionalLength: usize, textLength: usize): v128 {
  store<u64>(BLOCK, additionalLength);
  store<u64>(BLOCK, textLength, 8);
  absorb(BLOCK, BLOCK + 16);

  const h0 = load<u64>(H), h1 = load<u64>(H, 8), h2 = load<u64>(H, 16);
  // How often p = 2^130 - 5 is in h, 0 or 1, is what h + 5 has above 130 bits.
  addWide(h0, h1, 5, 0);
  const carry = u64(high() < h1);
  const t0 = addWide(h0, h1, 5 * ((h2 + carry) >> 2), 0);
  const t1 = high();
  store<u64>(BLOCK, addWide(t0, t1, load<u64>(PAD), load<u64>(PAD, 8)));
  store<u64>(BLOCK, high(), 8);
  return v128.load(BLOCK);
}
