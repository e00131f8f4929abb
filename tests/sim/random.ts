/** xoshiro128** (Blackman, Vigna), seeded through splitmix32: the same seed, the same run. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    let state = seed | 0;
    const splitmix = () => {
      state = state + 0x9e3779b9 | 0;
      let t = Math.imul(state ^ state >>> 16, 0x21f0aaad);
      t = Math.imul(t ^ t >>> 15, 0x735a2d97);
      return t ^ t >>> 15;
    };
    this.#a = splitmix();
    this.#b = splitmix();
    this.#c = splitmix();
    this.#d = splitmix() | 1;
  }

  /** 32 bits, unsigned. */
  uint32(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul(product << 7 | product >>> 25, 9);
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = this.#d << 11 | this.#d >>> 21;
    return result >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    return this.uint32() / 2 ** 32;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.next() < probability;
  }

  fill(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.uint32() >>> 24;
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.fill(out);
    return out;
  }
}
