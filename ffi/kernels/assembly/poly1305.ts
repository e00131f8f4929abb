// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * Poly1305 (RFC 8439 §2.5) in 32-bit limbs, products in 64 bits.
 *
 * r is clamped: its limbs have at most 28 bits, and r1 to r3 are multiples of 4. So what a product
 * carries over 2^130 comes back as 5/4 of a limb of r, which is a whole number: s = r + r / 4.
 * Sixteen products a block, and four small ones for what is above 2^128.
 *
 * Carries are left in h0: h0 < 2.6 · 2^32, h1 to h3 < 2^32 and h4 < 4 before a block is added. With
 * it h0 < 3.6 · 2^32, h1 to h3 < 2^33, and a column (d0 is the largest: h0·r0 and three h·s) stays
 * below (3.6 + 3 · 2 · 1.25) · 2^60 < 2^64.
 *
 * @module
 */

import { BLOCK, firstBytes, KEYSTREAM, MAC } from "./layout.ts";

/** Where the 64-bit limbs are: h0 to h4, r0 to r3, s1 to s3; then the 16 bytes added at the end. */
export const H = MAC;
export const R = MAC + 40;
export const S = MAC + 72;
export const PAD = MAC + 96;

/** Takes the one-time key from the first key stream block (RFC 8439 §2.6). */
export function startMac(): void {
  const r0 = load<u32>(KEYSTREAM) & 0x0fffffff;
  const r1 = load<u32>(KEYSTREAM, 4) & 0x0ffffffc;
  const r2 = load<u32>(KEYSTREAM, 8) & 0x0ffffffc;
  const r3 = load<u32>(KEYSTREAM, 12) & 0x0ffffffc;
  for (let i: usize = 0; i < 40; i += 8) store<u64>(H + i, 0);
  store<u64>(R, r0);
  store<u64>(R, r1, 8);
  store<u64>(R, r2, 16);
  store<u64>(R, r3, 24);
  store<u64>(S, r1 + (r1 >> 2));
  store<u64>(S, r2 + (r2 >> 2), 8);
  store<u64>(S, r3 + (r3 >> 2), 16);
  v128.store(PAD, v128.load(KEYSTREAM, 16));
}

/** Absorbs whole blocks. */
export function absorb(from: usize, end: usize): void {
  let h0 = load<u64>(H), h1 = load<u64>(H, 8), h2 = load<u64>(H, 16), h3 = load<u64>(H, 24);
  let h4 = load<u64>(H, 32);
  const r0 = load<u64>(R), r1 = load<u64>(R, 8), r2 = load<u64>(R, 16), r3 = load<u64>(R, 24);
  const s1 = load<u64>(S), s2 = load<u64>(S, 8), s3 = load<u64>(S, 16);
  for (; from < end; from += 16) {
    h0 += load<u32>(from);
    h1 += load<u32>(from, 4);
    h2 += load<u32>(from, 8);
    h3 += load<u32>(from, 12);
    h4 += 1;
    const d0 = h0 * r0 + h1 * s3 + h2 * s2 + h3 * s1;
    const d1 = h0 * r1 + h1 * r0 + h2 * s3 + h3 * s2 + h4 * s1 + (d0 >> 32);
    const d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * s3 + h4 * s2 + (d1 >> 32);
    const d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * s3 + (d2 >> 32);
    h4 = h4 * r0 + (d3 >> 32);
    h0 = (d0 & 0xffffffff) + 5 * (h4 >> 2);
    h1 = d1 & 0xffffffff;
    h2 = d2 & 0xffffffff;
    h3 = d3 & 0xffffffff;
    h4 &= 3;
  }
  store<u64>(H, h0);
  store<u64>(H, h1, 8);
  store<u64>(H, h2, 16);
  store<u64>(H, h3, 24);
  store<u64>(H, h4, 32);
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

  const h0 = load<u64>(H);
  const h1 = load<u64>(H, 8) + (h0 >> 32);
  const h2 = load<u64>(H, 16) + (h1 >> 32);
  const h3 = load<u64>(H, 24) + (h2 >> 32);
  const h4 = load<u64>(H, 32) + (h3 >> 32);

  // How often p = 2^130 - 5 is in h, 0 or 1, is what h + 5 has above 130 bits.
  let carry = ((h0 & 0xffffffff) + 5) >> 32;
  carry = ((h1 & 0xffffffff) + carry) >> 32;
  carry = ((h2 & 0xffffffff) + carry) >> 32;
  carry = ((h3 & 0xffffffff) + carry) >> 32;
  const subtract = 5 * ((h4 + carry) >> 2);

  const t0 = (h0 & 0xffffffff) + subtract + load<u32>(PAD);
  const t1 = (h1 & 0xffffffff) + load<u32>(PAD, 4) + (t0 >> 32);
  const t2 = (h2 & 0xffffffff) + load<u32>(PAD, 8) + (t1 >> 32);
  const t3 = (h3 & 0xffffffff) + load<u32>(PAD, 12) + (t2 >> 32);
  store<u32>(BLOCK, <u32> t0);
  store<u32>(BLOCK, <u32> t1, 4);
  store<u32>(BLOCK, <u32> t2, 8);
  store<u32>(BLOCK, <u32> t3, 12);
  return v128.load(BLOCK);
}
