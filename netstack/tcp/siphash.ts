/**
 * SipHash-2-4 (Aumasson, Bernstein 2012), on 32-bit halves. Keyed with a secret it gives sequence
 * numbers, timestamp offsets and ports that nobody else can compute, and hash tables that nobody
 * can aim at.
 *
 * @module
 */

/** Length of a key. */
export const SIPHASH_KEY_LENGTH = 16;

/** Hashes with one key. Each result is 64 bits, as two int32. */
export class SipHash {
  readonly #k0l: number;
  readonly #k0h: number;
  readonly #k1l: number;
  readonly #k1h: number;
  /** Low and high half of the last result. */
  low = 0;
  high = 0;

  #v0l = 0;
  #v0h = 0;
  #v1l = 0;
  #v1h = 0;
  #v2l = 0;
  #v2h = 0;
  #v3l = 0;
  #v3h = 0;
  /** Bytes hashed. */
  #length = 0;
  /** The word not yet complete: its low half, and whether there is one. */
  #pending = 0;
  #half = false;

  /** @throws {RangeError} if `key` is not 16 bytes. */
  constructor(key: Uint8Array) {
    if (key.length !== SIPHASH_KEY_LENGTH) {
      throw new RangeError(`a SipHash key has 16 bytes, got ${key.length}`);
    }
    this.#k0l = word(key, 0);
    this.#k0h = word(key, 4);
    this.#k1l = word(key, 8);
    this.#k1h = word(key, 12);
  }

  begin(): void {
    this.#v0l = this.#k0l ^ 0x70736575;
    this.#v0h = this.#k0h ^ 0x736f6d65;
    this.#v1l = this.#k1l ^ 0x6e646f6d;
    this.#v1h = this.#k1h ^ 0x646f7261;
    this.#v2l = this.#k0l ^ 0x6e657261;
    this.#v2h = this.#k0h ^ 0x6c796765;
    this.#v3l = this.#k1l ^ 0x79746573;
    this.#v3h = this.#k1h ^ 0x74656462;
    this.#length = 0;
    this.#half = false;
  }

  /** Adds four bytes, as a little-endian word. */
  addWord(value: number): void {
    this.#length += 4;
    if (!this.#half) {
      this.#pending = value;
      this.#half = true;
      return;
    }
    this.#half = false;
    this.#compress(this.#pending, value);
  }

  /** Adds bytes; `length` is a multiple of four, as of every address. */
  addBytes(buffer: Uint8Array, offset: number, length: number): void {
    for (let i = 0; i < length; i += 4) this.addWord(word(buffer, offset + i));
  }

  /** Ends; the result is in {@link low} and {@link high}. @returns The low half, an int32. */
  finish(): number {
    this.#compress(this.#half ? this.#pending : 0, this.#length << 24);
    this.#v2l ^= 0xff;
    this.#round();
    this.#round();
    this.#round();
    this.#round();
    this.low = this.#v0l ^ this.#v1l ^ this.#v2l ^ this.#v3l;
    this.high = this.#v0h ^ this.#v1h ^ this.#v2h ^ this.#v3h;
    return this.low;
  }

  #compress(low: number, high: number): void {
    this.#v3l ^= low;
    this.#v3h ^= high;
    this.#round();
    this.#round();
    this.#v0l ^= low;
    this.#v0h ^= high;
  }

  #round(): void {
    let v0l = this.#v0l, v0h = this.#v0h, v1l = this.#v1l, v1h = this.#v1h;
    let v2l = this.#v2l, v2h = this.#v2h, v3l = this.#v3l, v3h = this.#v3h;
    let sum: number, low: number;

    // v0 += v1; v1 <<<= 13; v1 ^= v0; v0 <<<= 32
    sum = (v0l >>> 0) + (v1l >>> 0);
    v0l = sum | 0;
    v0h = (v0h + v1h + (sum > 0xffffffff ? 1 : 0)) | 0;
    low = v1l << 13 | v1h >>> 19;
    v1h = (v1h << 13 | v1l >>> 19) ^ v0h;
    v1l = low ^ v0l;
    low = v0l;
    v0l = v0h;
    v0h = low;
    // v2 += v3; v3 <<<= 16; v3 ^= v2
    sum = (v2l >>> 0) + (v3l >>> 0);
    v2l = sum | 0;
    v2h = (v2h + v3h + (sum > 0xffffffff ? 1 : 0)) | 0;
    low = v3l << 16 | v3h >>> 16;
    v3h = (v3h << 16 | v3l >>> 16) ^ v2h;
    v3l = low ^ v2l;
    // v0 += v3; v3 <<<= 21; v3 ^= v0
    sum = (v0l >>> 0) + (v3l >>> 0);
    v0l = sum | 0;
    v0h = (v0h + v3h + (sum > 0xffffffff ? 1 : 0)) | 0;
    low = v3l << 21 | v3h >>> 11;
    v3h = (v3h << 21 | v3l >>> 11) ^ v0h;
    v3l = low ^ v0l;
    // v2 += v1; v1 <<<= 17; v1 ^= v2; v2 <<<= 32
    sum = (v2l >>> 0) + (v1l >>> 0);
    v2l = sum | 0;
    v2h = (v2h + v1h + (sum > 0xffffffff ? 1 : 0)) | 0;
    low = v1l << 17 | v1h >>> 15;
    v1h = (v1h << 17 | v1l >>> 15) ^ v2h;
    v1l = low ^ v2l;
    low = v2l;
    v2l = v2h;
    v2h = low;

    this.#v0l = v0l;
    this.#v0h = v0h;
    this.#v1l = v1l;
    this.#v1h = v1h;
    this.#v2l = v2l;
    this.#v2h = v2h;
    this.#v3l = v3l;
    this.#v3h = v3h;
  }
}

function word(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | bytes[offset + 1]! << 8 | bytes[offset + 2]! << 16 |
    bytes[offset + 3]! << 24;
}
