// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * ChaCha20 (RFC 8439 §2.3), four blocks at once: each vector holds one word of the state, of four
 * blocks. Poly1305 goes on between the rounds: it needs the processor's multiplier, ChaCha20 its
 * vector units.
 *
 * @module
 */

import { ROTATE_16, ROTATE_8, STATE } from "./layout.ts";
import { H, R, S } from "./poly1305.ts";

/** 64 bytes a block, four blocks. */
export const FOUR_BLOCKS: usize = 256;

/**
 * Writes 256 bytes at `from`, encrypted, to `to`, and absorbs the whole blocks from `mac` to
 * `macEnd` before that: at most 320 bytes. Counts the state's block counter up by four.
 */
export function encryptFourBlocks(from: usize, to: usize, mac: usize, macEnd: usize): void {
  let h0 = load<u64>(H), h1 = load<u64>(H, 8), h2 = load<u64>(H, 16), h3 = load<u64>(H, 24);
  let h4 = load<u64>(H, 32);
  const r0 = load<u64>(R), r1 = load<u64>(R, 8), r2 = load<u64>(R, 16), r3 = load<u64>(R, 24);
  const s1 = load<u64>(S), s2 = load<u64>(S, 8), s3 = load<u64>(S, 16);
  const counters = i32x4.add(word(12), i32x4(0, 1, 2, 3));

  let x0 = word(0);
  let x1 = word(1);
  let x2 = word(2);
  let x3 = word(3);
  let x4 = word(4);
  let x5 = word(5);
  let x6 = word(6);
  let x7 = word(7);
  let x8 = word(8);
  let x9 = word(9);
  let x10 = word(10);
  let x11 = word(11);
  let x12 = counters;
  let x13 = word(13);
  let x14 = word(14);
  let x15 = word(15);

  for (let round = 0; round < 20; round += 2) {
    // The columns, §2.3.1.
    x0 = i32x4.add(x0, x4);
    x12 = rotate16(v128.xor(x12, x0));
    x8 = i32x4.add(x8, x12);
    x4 = rotate12(v128.xor(x4, x8));
    x0 = i32x4.add(x0, x4);
    x12 = rotate8(v128.xor(x12, x0));
    x8 = i32x4.add(x8, x12);
    x4 = rotate7(v128.xor(x4, x8));

    x1 = i32x4.add(x1, x5);
    x13 = rotate16(v128.xor(x13, x1));
    x9 = i32x4.add(x9, x13);
    x5 = rotate12(v128.xor(x5, x9));
    x1 = i32x4.add(x1, x5);
    x13 = rotate8(v128.xor(x13, x1));
    x9 = i32x4.add(x9, x13);
    x5 = rotate7(v128.xor(x5, x9));

    x2 = i32x4.add(x2, x6);
    x14 = rotate16(v128.xor(x14, x2));
    x10 = i32x4.add(x10, x14);
    x6 = rotate12(v128.xor(x6, x10));
    x2 = i32x4.add(x2, x6);
    x14 = rotate8(v128.xor(x14, x2));
    x10 = i32x4.add(x10, x14);
    x6 = rotate7(v128.xor(x6, x10));

    x3 = i32x4.add(x3, x7);
    x15 = rotate16(v128.xor(x15, x3));
    x11 = i32x4.add(x11, x15);
    x7 = rotate12(v128.xor(x7, x11));
    x3 = i32x4.add(x3, x7);
    x15 = rotate8(v128.xor(x15, x3));
    x11 = i32x4.add(x11, x15);
    x7 = rotate7(v128.xor(x7, x11));

    // The diagonals.
    x0 = i32x4.add(x0, x5);
    x15 = rotate16(v128.xor(x15, x0));
    x10 = i32x4.add(x10, x15);
    x5 = rotate12(v128.xor(x5, x10));
    x0 = i32x4.add(x0, x5);
    x15 = rotate8(v128.xor(x15, x0));
    x10 = i32x4.add(x10, x15);
    x5 = rotate7(v128.xor(x5, x10));

    x1 = i32x4.add(x1, x6);
    x12 = rotate16(v128.xor(x12, x1));
    x11 = i32x4.add(x11, x12);
    x6 = rotate12(v128.xor(x6, x11));
    x1 = i32x4.add(x1, x6);
    x12 = rotate8(v128.xor(x12, x1));
    x11 = i32x4.add(x11, x12);
    x6 = rotate7(v128.xor(x6, x11));

    x2 = i32x4.add(x2, x7);
    x13 = rotate16(v128.xor(x13, x2));
    x8 = i32x4.add(x8, x13);
    x7 = rotate12(v128.xor(x7, x8));
    x2 = i32x4.add(x2, x7);
    x13 = rotate8(v128.xor(x13, x2));
    x8 = i32x4.add(x8, x13);
    x7 = rotate7(v128.xor(x7, x8));

    x3 = i32x4.add(x3, x4);
    x14 = rotate16(v128.xor(x14, x3));
    x9 = i32x4.add(x9, x14);
    x4 = rotate12(v128.xor(x4, x9));
    x3 = i32x4.add(x3, x4);
    x14 = rotate8(v128.xor(x14, x3));
    x9 = i32x4.add(x9, x14);
    x4 = rotate7(v128.xor(x4, x9));

    // Two blocks of Poly1305, as in absorb().
    for (const pause = min(mac + 32, macEnd); mac < pause; mac += 16) {
      h0 += load<u32>(mac);
      h1 += load<u32>(mac, 4);
      h2 += load<u32>(mac, 8);
      h3 += load<u32>(mac, 12);
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
  }
  store<u64>(H, h0);
  store<u64>(H, h1, 8);
  store<u64>(H, h2, 16);
  store<u64>(H, h3, 24);
  store<u64>(H, h4, 32);

  writeWords(
    from,
    to,
    i32x4.add(x0, word(0)),
    i32x4.add(x1, word(1)),
    i32x4.add(x2, word(2)),
    i32x4.add(x3, word(3)),
  );
  writeWords(
    from + 16,
    to + 16,
    i32x4.add(x4, word(4)),
    i32x4.add(x5, word(5)),
    i32x4.add(x6, word(6)),
    i32x4.add(x7, word(7)),
  );
  writeWords(
    from + 32,
    to + 32,
    i32x4.add(x8, word(8)),
    i32x4.add(x9, word(9)),
    i32x4.add(x10, word(10)),
    i32x4.add(x11, word(11)),
  );
  writeWords(
    from + 48,
    to + 48,
    i32x4.add(x12, counters),
    i32x4.add(x13, word(13)),
    i32x4.add(x14, word(14)),
    i32x4.add(x15, word(15)),
  );
  store<u32>(STATE, load<u32>(STATE, 48) + 4, 48);
}

/**
 * Writes the next two blocks of key stream to `to`, for a short packet: without Poly1305 between the
 * rounds. Each vector holds a row of a block's state, so the dependency chain is shorter than for four
 * blocks word by word, and it is a third faster than those.
 */
export function keystreamTwoBlocks(to: usize): void {
  const a = v128.load(STATE), b = v128.load(STATE, 16), c = v128.load(STATE, 32);
  const d = v128.load(STATE, 48);
  const next = i32x4.add(d, i32x4(1, 0, 0, 0));
  let a0 = a, b0 = b, c0 = c, d0 = d;
  let a1 = a, b1 = b, c1 = c, d1 = next;
  for (let round = 0; round < 20; round += 2) {
    // The columns.
    a0 = i32x4.add(a0, b0);
    d0 = rotate16(v128.xor(d0, a0));
    c0 = i32x4.add(c0, d0);
    b0 = rotate12(v128.xor(b0, c0));
    a0 = i32x4.add(a0, b0);
    d0 = rotate8(v128.xor(d0, a0));
    c0 = i32x4.add(c0, d0);
    b0 = rotate7(v128.xor(b0, c0));

    a1 = i32x4.add(a1, b1);
    d1 = rotate16(v128.xor(d1, a1));
    c1 = i32x4.add(c1, d1);
    b1 = rotate12(v128.xor(b1, c1));
    a1 = i32x4.add(a1, b1);
    d1 = rotate8(v128.xor(d1, a1));
    c1 = i32x4.add(c1, d1);
    b1 = rotate7(v128.xor(b1, c1));

    // The diagonals, turned into columns and back.
    b0 = turn1(b0);
    c0 = turn2(c0);
    d0 = turn3(d0);
    b1 = turn1(b1);
    c1 = turn2(c1);
    d1 = turn3(d1);

    a0 = i32x4.add(a0, b0);
    d0 = rotate16(v128.xor(d0, a0));
    c0 = i32x4.add(c0, d0);
    b0 = rotate12(v128.xor(b0, c0));
    a0 = i32x4.add(a0, b0);
    d0 = rotate8(v128.xor(d0, a0));
    c0 = i32x4.add(c0, d0);
    b0 = rotate7(v128.xor(b0, c0));

    a1 = i32x4.add(a1, b1);
    d1 = rotate16(v128.xor(d1, a1));
    c1 = i32x4.add(c1, d1);
    b1 = rotate12(v128.xor(b1, c1));
    a1 = i32x4.add(a1, b1);
    d1 = rotate8(v128.xor(d1, a1));
    c1 = i32x4.add(c1, d1);
    b1 = rotate7(v128.xor(b1, c1));

    b0 = turn3(b0);
    c0 = turn2(c0);
    d0 = turn1(d0);
    b1 = turn3(b1);
    c1 = turn2(c1);
    d1 = turn1(d1);
  }
  v128.store(to, i32x4.add(a0, a));
  v128.store(to, i32x4.add(b0, b), 16);
  v128.store(to, i32x4.add(c0, c), 32);
  v128.store(to, i32x4.add(d0, d), 48);
  v128.store(to, i32x4.add(a1, a), 64);
  v128.store(to, i32x4.add(b1, b), 80);
  v128.store(to, i32x4.add(c1, c), 96);
  v128.store(to, i32x4.add(d1, next), 112);
  store<u32>(STATE, load<u32>(STATE, 48) + 2, 48);
}

/** A word of the state, in four blocks. */
function word(index: usize): v128 {
  return v128.load32_splat(STATE + 4 * index);
}

/** Four words of the key stream of four blocks: transposes them, to 16 bytes of each block. */
function writeWords(from: usize, to: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  writeBlock(from, to, i64x2.shuffle(ab01, cd01, 0, 2));
  writeBlock(from + 64, to + 64, i64x2.shuffle(ab01, cd01, 1, 3));
  writeBlock(from + 128, to + 128, i64x2.shuffle(ab23, cd23, 0, 2));
  writeBlock(from + 192, to + 192, i64x2.shuffle(ab23, cd23, 1, 3));
}

function writeBlock(from: usize, to: usize, keystream: v128): void {
  v128.store(to, v128.xor(v128.load(from), keystream));
}

// The indices are all below 16: there the relaxed swizzle is exact, and one instruction everywhere.
// As constants V8 would build the indices for every shuffle again; as data they are one load.
function rotate16(v: v128): v128 {
  return i8x16.relaxed_swizzle(v, v128.load(ROTATE_16));
}

export function rotate12(v: v128): v128 {
  return v128.or(i32x4.shl(v, 12), i32x4.shr_u(v, 20));
}

function rotate8(v: v128): v128 {
  return i8x16.relaxed_swizzle(v, v128.load(ROTATE_8));
}

export function rotate7(v: v128): v128 {
  return v128.or(i32x4.shl(v, 7), i32x4.shr_u(v, 25));
}

/** The words of a row, moved by one, two and three places. */
export function turn1(row: v128): v128 {
  return i32x4.shuffle(row, row, 1, 2, 3, 0);
}

export function turn2(row: v128): v128 {
  return i32x4.shuffle(row, row, 2, 3, 0, 1);
}

export function turn3(row: v128): v128 {
  return i32x4.shuffle(row, row, 3, 0, 1, 2);
}
