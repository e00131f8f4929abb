/**
 * What was looked up last, so that the next packet of a conversation costs no walk through a trie,
 * however many prefixes there are. One object for a family; slots are shared by a hash, the later
 * wins.
 *
 * @module
 */

const SLOT_BITS = 12;
const SLOTS = 1 << SLOT_BITS;
/** Tables with fewer prefixes are walked as fast. */
export const CACHED_FROM = 16;

/** Values by address. Forgets all of them when told that the table has changed. */
export class LookupCache<T> {
  readonly #words = new Int32Array(4 * SLOTS);
  readonly #values: (T | undefined)[] = new Array<T | undefined>(SLOTS).fill(undefined);
  /** 1 for a slot that is in use: undefined may be what was found. */
  readonly #used = new Uint8Array(SLOTS);
  #isEmpty = true;
  /** Where {@link has} found, or would have found, what it was asked for. */
  #slot = 0;

  /** What belongs to the address that {@link has} was asked for last, and knew. */
  get value(): T | undefined {
    return this.#values[this.#slot];
  }

  /** @param w0 The address, as words; of IPv4 the others are 0. */
  has(w0: number, w1: number, w2: number, w3: number): boolean {
    const hash = Math.imul(w0 ^ Math.imul(w1 ^ Math.imul(w2 ^ w3, PRIME), PRIME), PRIME);
    const slot = hash >>> 32 - SLOT_BITS;
    this.#slot = slot;
    const words = this.#words;
    const at = 4 * slot;
    return this.#used[slot] === 1 && words[at] === w0 && words[at + 1] === w1 &&
      words[at + 2] === w2 && words[at + 3] === w3;
  }

  /** Keeps what belongs to the address that {@link has} was asked for last. */
  keep(w0: number, w1: number, w2: number, w3: number, value: T | undefined): void {
    const slot = this.#slot;
    const at = 4 * slot;
    this.#words[at] = w0;
    this.#words[at + 1] = w1;
    this.#words[at + 2] = w2;
    this.#words[at + 3] = w3;
    this.#values[slot] = value;
    this.#used[slot] = 1;
    this.#isEmpty = false;
  }

  clear(): void {
    if (this.#isEmpty) return;
    this.#used.fill(0);
    this.#values.fill(undefined); // nothing of a peer that is gone
    this.#isEmpty = true;
  }
}

/** 2^32 divided by the golden ratio. */
const PRIME = 0x9e3779b1;
