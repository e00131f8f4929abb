/**
 * BLAKE2s (RFC 7693), the protocol's only hash, without an object per call. A handshake hashes a
 * hundred blocks, and a flood is answered by hashing: `@noble/hashes`, its twin in the tests, takes
 * eight times as long for messages this short.
 *
 * @module
 */

import { EMPTY, readI32, writeU32 } from "./bytes.ts";

const BLOCK_SIZE = 64;
/** Of a digest at most, and of a key. */
const MAX_SIZE = 32;

/** RFC 7693 §2.6, the same as SHA-256's. */
const IV = Int32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);

/** RFC 7693 §2.7: the order of the message words, round by round. */
// deno-fmt-ignore
const SIGMA = Uint8Array.of(
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3,
  11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4,
  7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8,
  9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13,
  2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9,
  12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11,
  13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10,
  6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5,
  10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0,
);

/** One computation after another: {@link begin}, any number of {@link update}s, {@link finish}. */
export class Blake2s {
  /** The chain value. */
  readonly #h = new Int32Array(8);
  readonly #words = new Int32Array(16);
  /** The block that may be the last: compressed only when more follows. */
  readonly #block = new Uint8Array(BLOCK_SIZE);
  // Plain loops below: a call of fill or set on a few bytes costs as much as half a block.
  #filled = 0;
  /** Bytes compressed so far; no input here has more than 2^32. */
  #compressed = 0;
  #size = MAX_SIZE;

  /**
   * Forgets what was begun before.
   *
   * @param size Bytes of the digest: a multiple of 4, at most 32.
   * @param key At most 32 bytes; empty for the plain hash.
   */
  begin(size: number, key: Uint8Array): void {
    if (size > MAX_SIZE || size % 4 !== 0) {
      throw new RangeError(`a digest has 4, 8, … 32 bytes, got ${size}`);
    }
    if (key.length > MAX_SIZE) throw new RangeError(`a key has 32 bytes, got ${key.length}`);
    for (let i = 0; i < 8; i++) this.#h[i] = IV[i]!;
    this.#h[0]! ^= 0x01010000 ^ key.length << 8 ^ size; // §2.5: the parameter block
    this.#size = size;
    this.#filled = 0;
    this.#compressed = 0;
    if (key.length === 0) return;
    for (let i = 0; i < BLOCK_SIZE; i++) this.#block[i] = i < key.length ? key[i]! : 0;
    this.#filled = BLOCK_SIZE; // §2.9: the padded key is the first block
  }

  /** Begins an HMAC's inner or outer hash (RFC 2104 §2): a first block of the key XORed with `byte`. */
  beginPadded(key: Uint8Array, byte: number): void {
    this.begin(MAX_SIZE, EMPTY);
    const block = this.#block;
    for (let i = 0; i < BLOCK_SIZE; i++) block[i] = i < key.length ? key[i]! ^ byte : byte;
    this.#filled = BLOCK_SIZE;
  }

  update(bytes: Uint8Array, offset: number, length: number): void {
    const block = this.#block;
    const end = offset + length;
    for (let at = offset; at < end;) {
      if (this.#filled === BLOCK_SIZE) {
        this.#compress(block, 0, BLOCK_SIZE, 0);
        this.#filled = 0;
      }
      if (this.#filled === 0 && end - at > BLOCK_SIZE) {
        this.#compress(bytes, at, BLOCK_SIZE, 0);
        at += BLOCK_SIZE;
        continue;
      }
      const filled = this.#filled;
      const count = Math.min(end - at, BLOCK_SIZE - filled);
      for (let i = 0; i < count; i++) block[filled + i] = bytes[at + i]!;
      this.#filled = filled + count;
      at += count;
    }
  }

  /** Writes the digest to `out` at `offset`, and wipes what is left of the input. */
  finish(out: Uint8Array, offset: number): void {
    const block = this.#block;
    for (let i = this.#filled; i < BLOCK_SIZE; i++) block[i] = 0;
    this.#compress(block, 0, this.#filled, -1);
    for (let i = 0; i < this.#size; i += 4) writeU32(out, offset + i, this.#h[i >> 2]!);
    for (let i = 0; i < BLOCK_SIZE; i++) block[i] = 0;
    for (let i = 0; i < 16; i++) this.#words[i] = 0;
  }

  /**
   * §3.2, the function F. @param size Bytes of input in this block. @param last −1 for the last block.
   */
  #compress(bytes: Uint8Array, offset: number, size: number, last: number): void {
    const h = this.#h;
    const m = this.#words;
    for (let i = 0; i < 16; i++) m[i] = readI32(bytes, offset + 4 * i);
    this.#compressed += size;
    let v0 = h[0]!, v1 = h[1]!, v2 = h[2]!, v3 = h[3]!;
    let v4 = h[4]!, v5 = h[5]!, v6 = h[6]!, v7 = h[7]!;
    let v8 = IV[0]!, v9 = IV[1]!, v10 = IV[2]!, v11 = IV[3]!;
    let v12 = IV[4]! ^ this.#compressed, v13 = IV[5]!, v14 = IV[6]! ^ last, v15 = IV[7]!;
    // Ten rounds of eight times G (§3.1), a row each: the columns, then the diagonals. Calls of a
    // function G, with four results, would cost more than its work.
    // deno-fmt-ignore
    for (let s = 0; s < 160; s += 16) {
      v0 = v0 + v4 + m[SIGMA[s]!]! | 0; v12 ^= v0; v12 = v12 << 16 | v12 >>> 16; v8 = v8 + v12 | 0; v4 ^= v8; v4 = v4 << 20 | v4 >>> 12;
      v0 = v0 + v4 + m[SIGMA[s + 1]!]! | 0; v12 ^= v0; v12 = v12 << 24 | v12 >>> 8; v8 = v8 + v12 | 0; v4 ^= v8; v4 = v4 << 25 | v4 >>> 7;
      v1 = v1 + v5 + m[SIGMA[s + 2]!]! | 0; v13 ^= v1; v13 = v13 << 16 | v13 >>> 16; v9 = v9 + v13 | 0; v5 ^= v9; v5 = v5 << 20 | v5 >>> 12;
      v1 = v1 + v5 + m[SIGMA[s + 3]!]! | 0; v13 ^= v1; v13 = v13 << 24 | v13 >>> 8; v9 = v9 + v13 | 0; v5 ^= v9; v5 = v5 << 25 | v5 >>> 7;
      v2 = v2 + v6 + m[SIGMA[s + 4]!]! | 0; v14 ^= v2; v14 = v14 << 16 | v14 >>> 16; v10 = v10 + v14 | 0; v6 ^= v10; v6 = v6 << 20 | v6 >>> 12;
      v2 = v2 + v6 + m[SIGMA[s + 5]!]! | 0; v14 ^= v2; v14 = v14 << 24 | v14 >>> 8; v10 = v10 + v14 | 0; v6 ^= v10; v6 = v6 << 25 | v6 >>> 7;
      v3 = v3 + v7 + m[SIGMA[s + 6]!]! | 0; v15 ^= v3; v15 = v15 << 16 | v15 >>> 16; v11 = v11 + v15 | 0; v7 ^= v11; v7 = v7 << 20 | v7 >>> 12;
      v3 = v3 + v7 + m[SIGMA[s + 7]!]! | 0; v15 ^= v3; v15 = v15 << 24 | v15 >>> 8; v11 = v11 + v15 | 0; v7 ^= v11; v7 = v7 << 25 | v7 >>> 7;
      v0 = v0 + v5 + m[SIGMA[s + 8]!]! | 0; v15 ^= v0; v15 = v15 << 16 | v15 >>> 16; v10 = v10 + v15 | 0; v5 ^= v10; v5 = v5 << 20 | v5 >>> 12;
      v0 = v0 + v5 + m[SIGMA[s + 9]!]! | 0; v15 ^= v0; v15 = v15 << 24 | v15 >>> 8; v10 = v10 + v15 | 0; v5 ^= v10; v5 = v5 << 25 | v5 >>> 7;
      v1 = v1 + v6 + m[SIGMA[s + 10]!]! | 0; v12 ^= v1; v12 = v12 << 16 | v12 >>> 16; v11 = v11 + v12 | 0; v6 ^= v11; v6 = v6 << 20 | v6 >>> 12;
      v1 = v1 + v6 + m[SIGMA[s + 11]!]! | 0; v12 ^= v1; v12 = v12 << 24 | v12 >>> 8; v11 = v11 + v12 | 0; v6 ^= v11; v6 = v6 << 25 | v6 >>> 7;
      v2 = v2 + v7 + m[SIGMA[s + 12]!]! | 0; v13 ^= v2; v13 = v13 << 16 | v13 >>> 16; v8 = v8 + v13 | 0; v7 ^= v8; v7 = v7 << 20 | v7 >>> 12;
      v2 = v2 + v7 + m[SIGMA[s + 13]!]! | 0; v13 ^= v2; v13 = v13 << 24 | v13 >>> 8; v8 = v8 + v13 | 0; v7 ^= v8; v7 = v7 << 25 | v7 >>> 7;
      v3 = v3 + v4 + m[SIGMA[s + 14]!]! | 0; v14 ^= v3; v14 = v14 << 16 | v14 >>> 16; v9 = v9 + v14 | 0; v4 ^= v9; v4 = v4 << 20 | v4 >>> 12;
      v3 = v3 + v4 + m[SIGMA[s + 15]!]! | 0; v14 ^= v3; v14 = v14 << 24 | v14 >>> 8; v9 = v9 + v14 | 0; v4 ^= v9; v4 = v4 << 25 | v4 >>> 7;
    }
    h[0]! ^= v0 ^ v8;
    h[1]! ^= v1 ^ v9;
    h[2]! ^= v2 ^ v10;
    h[3]! ^= v3 ^ v11;
    h[4]! ^= v4 ^ v12;
    h[5]! ^= v5 ^ v13;
    h[6]! ^= v6 ^ v14;
    h[7]! ^= v7 ^ v15;
  }
}
