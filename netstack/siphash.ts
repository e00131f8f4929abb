/**
 * A keyed hash for tables whose keys come from the network.
 *
 * @module
 */

import { readUint32 } from "./bytes.ts";

/**
 * HalfSipHash-1-3, a keyed hash for tables whose keys an attacker can choose (Aumasson and Bernstein,
 * SipHash; the 32-bit variant is Linux's). Fed one word at a time, so nothing is allocated. The
 * closing length word is left out: the keys of one table all have the same form.
 */
export class HalfSipHash {
  readonly #k0: number;
  readonly #k1: number;
  #v0 = 0;
  #v1 = 0;
  #v2 = 0;
  #v3 = 0;

  constructor(random: (out: Uint8Array) => void) {
    const key = new Uint8Array(8);
    random(key);
    this.#k0 = readUint32(key, 0) | 0;
    this.#k1 = readUint32(key, 4) | 0;
  }

  begin(): void {
    this.#v0 = this.#k0;
    this.#v1 = this.#k1;
    this.#v2 = 0x6c796765 ^ this.#k0;
    this.#v3 = 0x74656462 ^ this.#k1;
  }

  word(value: number): void {
    this.#v3 ^= value;
    this.#round();
    this.#v0 ^= value;
  }

  /** @param length A multiple of 4: an address. */
  bytes(buffer: Uint8Array, offset: number, length: number): void {
    for (let i = 0; i < length; i += 4) this.word(readUint32(buffer, offset + i) | 0);
  }

  /** 31 bits, unsigned: a number V8 keeps without a box. */
  end(): number {
    this.#v2 ^= 0xff;
    this.#round();
    this.#round();
    this.#round();
    return (this.#v1 ^ this.#v3) >>> 1;
  }

  #round(): void {
    let v0 = this.#v0, v1 = this.#v1, v2 = this.#v2, v3 = this.#v3;
    v0 = v0 + v1 | 0;
    v1 = v1 << 5 | v1 >>> 27;
    v1 ^= v0;
    v0 = v0 << 16 | v0 >>> 16;
    v2 = v2 + v3 | 0;
    v3 = v3 << 8 | v3 >>> 24;
    v3 ^= v2;
    v0 = v0 + v3 | 0;
    v3 = v3 << 7 | v3 >>> 25;
    v3 ^= v0;
    v2 = v2 + v1 | 0;
    v1 = v1 << 13 | v1 >>> 19;
    v1 ^= v2;
    v2 = v2 << 16 | v2 >>> 16;
    this.#v0 = v0;
    this.#v1 = v1;
    this.#v2 = v2;
    this.#v3 = v3;
  }
}
