// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * ChaCha20 (RFC 8439 §2.3), six blocks at once: each vector is a row of a block's state. V8's
 * revectorizer (`--experimental-wasm-revectorize`) makes one vector of 256 bits of those of two blocks
 * that follow each other; twelve of them, and what is computed with them, are what the processor has
 * registers for. Without it the result is the same.
 *
 * What the revectorizer needs, of V8 15.0:
 *
 * - It begins at two values of the same kind that are added (or are stored side by side, but not where
 *   stores have bounds checks, as in Deno), and goes on to all that they are made of. That is what the
 *   sums in SEED are for: one for each pair of blocks.
 * - It knows shifts and shuffles of words, and no swizzle.
 *
 * Poly1305 goes on twice a double round: it needs the processor's multiplier, ChaCha20 its vector units.
 *
 * @module
 */

import { rotate12, rotate7, turn1, turn2, turn3 } from "../chacha20.ts";
import { SEED, STATE } from "../layout.ts";
import { H, R, S } from "../poly1305.ts";
import { addWide, high, mulWide } from "./arithmetic.ts";

/** 64 bytes a block, six blocks. */
export const SIX_BLOCKS: usize = 384;

/**
 * Writes 384 bytes at `from`, encrypted, to `to`, and absorbs the whole blocks from `mac` to `macEnd`
 * before that: at most 640 bytes. Counts the state's block counter up by six.
 */
export function encryptSixBlocks(from: usize, to: usize, mac: usize, macEnd: usize): void {
  let h0 = load<u64>(H), h1 = load<u64>(H, 8), h2 = load<u64>(H, 16);
  const r0 = load<u64>(R), r1 = load<u64>(R, 8), s1 = load<u64>(S);
  const a = v128.load(STATE), b = v128.load(STATE, 16), c = v128.load(STATE, 32);
  const d = v128.load(STATE, 48);

  const e0 = i32x4.add(d, i32x4(0, 0, 0, 0));
  const e1 = i32x4.add(d, i32x4(1, 0, 0, 0));
  const e2 = i32x4.add(d, i32x4(2, 0, 0, 0));
  const e3 = i32x4.add(d, i32x4(3, 0, 0, 0));
  const e4 = i32x4.add(d, i32x4(4, 0, 0, 0));
  const e5 = i32x4.add(d, i32x4(5, 0, 0, 0));
  let a0 = a, b0 = b, c0 = c, d0 = e0;
  let a1 = a, b1 = b, c1 = c, d1 = e1;
  let a2 = a, b2 = b, c2 = c, d2 = e2;
  let a3 = a, b3 = b, c3 = c, d3 = e3;
  let a4 = a, b4 = b, c4 = c, d4 = e4;
  let a5 = a, b5 = b, c5 = c, d5 = e5;

  for (let round = 0; round < 20; round += 2) {
    // The columns, §2.3.1.
    a0 = i32x4.add(a0, b0);
    a1 = i32x4.add(a1, b1);
    a2 = i32x4.add(a2, b2);
    a3 = i32x4.add(a3, b3);
    a4 = i32x4.add(a4, b4);
    a5 = i32x4.add(a5, b5);
    d0 = rotate16(v128.xor(d0, a0));
    d1 = rotate16(v128.xor(d1, a1));
    d2 = rotate16(v128.xor(d2, a2));
    d3 = rotate16(v128.xor(d3, a3));
    d4 = rotate16(v128.xor(d4, a4));
    d5 = rotate16(v128.xor(d5, a5));

    c0 = i32x4.add(c0, d0);
    c1 = i32x4.add(c1, d1);
    c2 = i32x4.add(c2, d2);
    c3 = i32x4.add(c3, d3);
    c4 = i32x4.add(c4, d4);
    c5 = i32x4.add(c5, d5);
    b0 = rotate12(v128.xor(b0, c0));
    b1 = rotate12(v128.xor(b1, c1));
    b2 = rotate12(v128.xor(b2, c2));
    b3 = rotate12(v128.xor(b3, c3));
    b4 = rotate12(v128.xor(b4, c4));
    b5 = rotate12(v128.xor(b5, c5));

    a0 = i32x4.add(a0, b0);
    a1 = i32x4.add(a1, b1);
    a2 = i32x4.add(a2, b2);
    a3 = i32x4.add(a3, b3);
    a4 = i32x4.add(a4, b4);
    a5 = i32x4.add(a5, b5);
    d0 = rotate8(v128.xor(d0, a0));
    d1 = rotate8(v128.xor(d1, a1));
    d2 = rotate8(v128.xor(d2, a2));
    d3 = rotate8(v128.xor(d3, a3));
    d4 = rotate8(v128.xor(d4, a4));
    d5 = rotate8(v128.xor(d5, a5));

    c0 = i32x4.add(c0, d0);
    c1 = i32x4.add(c1, d1);
    c2 = i32x4.add(c2, d2);
    c3 = i32x4.add(c3, d3);
    c4 = i32x4.add(c4, d4);
    c5 = i32x4.add(c5, d5);
    b0 = rotate7(v128.xor(b0, c0));
    b1 = rotate7(v128.xor(b1, c1));
    b2 = rotate7(v128.xor(b2, c2));
    b3 = rotate7(v128.xor(b3, c3));
    b4 = rotate7(v128.xor(b4, c4));
    b5 = rotate7(v128.xor(b5, c5));

    b0 = turn1(b0);
    c0 = turn2(c0);
    d0 = turn3(d0);

    b1 = turn1(b1);
    c1 = turn2(c1);
    d1 = turn3(d1);

    b2 = turn1(b2);
    c2 = turn2(c2);
    d2 = turn3(d2);

    b3 = turn1(b3);
    c3 = turn2(c3);
    d3 = turn3(d3);

    b4 = turn1(b4);
    c4 = turn2(c4);
    d4 = turn3(d4);

    b5 = turn1(b5);
    c5 = turn2(c5);
    d5 = turn3(d5);

    // Blocks of Poly1305, as in absorb().
    for (const pause = min(mac + 32, macEnd); mac < pause; mac += 16) {
      h0 = addWide(h0, 0, load<u64>(mac), 0);
      const carry = high();
      h1 = addWide(h1, 0, load<u64>(mac, 8), 0);
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

    // The diagonals, turned into columns and back.
    a0 = i32x4.add(a0, b0);
    a1 = i32x4.add(a1, b1);
    a2 = i32x4.add(a2, b2);
    a3 = i32x4.add(a3, b3);
    a4 = i32x4.add(a4, b4);
    a5 = i32x4.add(a5, b5);
    d0 = rotate16(v128.xor(d0, a0));
    d1 = rotate16(v128.xor(d1, a1));
    d2 = rotate16(v128.xor(d2, a2));
    d3 = rotate16(v128.xor(d3, a3));
    d4 = rotate16(v128.xor(d4, a4));
    d5 = rotate16(v128.xor(d5, a5));

    c0 = i32x4.add(c0, d0);
    c1 = i32x4.add(c1, d1);
    c2 = i32x4.add(c2, d2);
    c3 = i32x4.add(c3, d3);
    c4 = i32x4.add(c4, d4);
    c5 = i32x4.add(c5, d5);
    b0 = rotate12(v128.xor(b0, c0));
    b1 = rotate12(v128.xor(b1, c1));
    b2 = rotate12(v128.xor(b2, c2));
    b3 = rotate12(v128.xor(b3, c3));
    b4 = rotate12(v128.xor(b4, c4));
    b5 = rotate12(v128.xor(b5, c5));

    a0 = i32x4.add(a0, b0);
    a1 = i32x4.add(a1, b1);
    a2 = i32x4.add(a2, b2);
    a3 = i32x4.add(a3, b3);
    a4 = i32x4.add(a4, b4);
    a5 = i32x4.add(a5, b5);
    d0 = rotate8(v128.xor(d0, a0));
    d1 = rotate8(v128.xor(d1, a1));
    d2 = rotate8(v128.xor(d2, a2));
    d3 = rotate8(v128.xor(d3, a3));
    d4 = rotate8(v128.xor(d4, a4));
    d5 = rotate8(v128.xor(d5, a5));

    c0 = i32x4.add(c0, d0);
    c1 = i32x4.add(c1, d1);
    c2 = i32x4.add(c2, d2);
    c3 = i32x4.add(c3, d3);
    c4 = i32x4.add(c4, d4);
    c5 = i32x4.add(c5, d5);
    b0 = rotate7(v128.xor(b0, c0));
    b1 = rotate7(v128.xor(b1, c1));
    b2 = rotate7(v128.xor(b2, c2));
    b3 = rotate7(v128.xor(b3, c3));
    b4 = rotate7(v128.xor(b4, c4));
    b5 = rotate7(v128.xor(b5, c5));

    b0 = turn3(b0);
    c0 = turn2(c0);
    d0 = turn1(d0);

    b1 = turn3(b1);
    c1 = turn2(c1);
    d1 = turn1(d1);

    b2 = turn3(b2);
    c2 = turn2(c2);
    d2 = turn1(d2);

    b3 = turn3(b3);
    c3 = turn2(c3);
    d3 = turn1(d3);

    b4 = turn3(b4);
    c4 = turn2(c4);
    d4 = turn1(d4);

    b5 = turn3(b5);
    c5 = turn2(c5);
    d5 = turn1(d5);

    // Blocks of Poly1305, as in absorb().
    for (const pause = min(mac + 32, macEnd); mac < pause; mac += 16) {
      h0 = addWide(h0, 0, load<u64>(mac), 0);
      const carry = high();
      h1 = addWide(h1, 0, load<u64>(mac, 8), 0);
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
  }
  store<u64>(H, h0);
  store<u64>(H, h1, 8);
  store<u64>(H, h2, 16);

  a0 = i32x4.add(a0, a);
  b0 = i32x4.add(b0, b);
  c0 = i32x4.add(c0, c);
  d0 = i32x4.add(d0, e0);
  a1 = i32x4.add(a1, a);
  b1 = i32x4.add(b1, b);
  c1 = i32x4.add(c1, c);
  d1 = i32x4.add(d1, e1);
  a2 = i32x4.add(a2, a);
  b2 = i32x4.add(b2, b);
  c2 = i32x4.add(c2, c);
  d2 = i32x4.add(d2, e2);
  a3 = i32x4.add(a3, a);
  b3 = i32x4.add(b3, b);
  c3 = i32x4.add(c3, c);
  d3 = i32x4.add(d3, e3);
  a4 = i32x4.add(a4, a);
  b4 = i32x4.add(b4, b);
  c4 = i32x4.add(c4, c);
  d4 = i32x4.add(d4, e4);
  a5 = i32x4.add(a5, a);
  b5 = i32x4.add(b5, b);
  c5 = i32x4.add(c5, c);
  d5 = i32x4.add(d5, e5);

  let seed = i32x4.add(a0, a1);
  seed = v128.xor(seed, i32x4.add(b0, b1));
  seed = v128.xor(seed, i32x4.add(c0, c1));
  seed = v128.xor(seed, i32x4.add(d0, d1));
  seed = v128.xor(seed, i32x4.add(a2, a3));
  seed = v128.xor(seed, i32x4.add(b2, b3));
  seed = v128.xor(seed, i32x4.add(c2, c3));
  seed = v128.xor(seed, i32x4.add(d2, d3));
  seed = v128.xor(seed, i32x4.add(a4, a5));
  seed = v128.xor(seed, i32x4.add(b4, b5));
  seed = v128.xor(seed, i32x4.add(c4, c5));
  seed = v128.xor(seed, i32x4.add(d4, d5));
  v128.store(SEED, seed);

  writeRows(from, to, a0, b0, c0, d0);
  writeRows(from + 64, to + 64, a1, b1, c1, d1);
  writeRows(from + 128, to + 128, a2, b2, c2, d2);
  writeRows(from + 192, to + 192, a3, b3, c3, d3);
  writeRows(from + 256, to + 256, a4, b4, c4, d4);
  writeRows(from + 320, to + 320, a5, b5, c5, d5);
  store<u32>(STATE, load<u32>(STATE, 48) + 6, 48);
}

/** The rows of a block are its key stream. */
function writeRows(from: usize, to: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(to, v128.xor(v128.load(from), a));
  v128.store(to, v128.xor(v128.load(from, 16), b), 16);
  v128.store(to, v128.xor(v128.load(from, 32), c), 32);
  v128.store(to, v128.xor(v128.load(from, 48), d), 48);
}

function rotate16(v: v128): v128 {
  return v128.or(i32x4.shl(v, 16), i32x4.shr_u(v, 16));
}

function rotate8(v: v128): v128 {
  return v128.or(i32x4.shl(v, 8), i32x4.shr_u(v, 24));
}
