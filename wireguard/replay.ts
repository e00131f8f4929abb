/**
 * The sliding window against replayed transport data (whitepaper §5.4.6, RFC 6479).
 *
 * @module
 */

/** Bits in the map. */
const BITS = 8192;

const WORDS = BITS / 32;

/** How far behind the greatest counter one may be: 64 bits of the map are given to moving it. */
export const REPLAY_WINDOW = BITS - 64;

/** Counters are two unsigned 32-bit halves. */
export class ReplayFilter {
  readonly #map = new Uint32Array(WORDS);
  #high = 0;
  #low = 0;
  #empty = true;

  /** Whether the counter is new. Changes nothing: ask before decryption, {@link mark} after it. */
  isFresh(high: number, low: number): boolean {
    if (this.#empty) return true;
    const ahead = this.#distance(high, low);
    if (ahead > 0) return true;
    if (-ahead > REPLAY_WINDOW) return false;
    return (this.#map[(low >>> 5) & (WORDS - 1)]! >>> (low & 31) & 1) === 0;
  }

  /** Records a fresh counter. Only for a packet whose tag was right. */
  mark(high: number, low: number): void {
    const ahead = this.#empty ? Infinity : this.#distance(high, low);
    if (ahead > 0) {
      this.#clearUpTo(low, ahead);
      this.#high = high;
      this.#low = low;
      this.#empty = false;
    }
    this.#map[(low >>> 5) & (WORDS - 1)]! |= 1 << (low & 31);
  }

  /** Whether no greater counter has been marked. */
  isGreatest(high: number, low: number): boolean {
    return this.#empty || this.#distance(high, low) >= 0;
  }

  /** Whether nothing has been marked yet. */
  get isEmpty(): boolean {
    return this.#empty;
  }

  /** Counter minus the greatest so far. Exact up to 2^53, and of the right sign beyond. */
  #distance(high: number, low: number): number {
    return (high - this.#high) * 0x1_0000_0000 + (low - this.#low);
  }

  /** Empties the words the window moves over. Their number, modulo the map, is in the low halves. */
  #clearUpTo(low: number, ahead: number): void {
    if (ahead > BITS - 32) {
      this.#map.fill(0);
      return;
    }
    const last = low >>> 5 & (WORDS - 1);
    let word = this.#low >>> 5 & (WORDS - 1);
    while (word !== last) {
      word = (word + 1) & (WORDS - 1);
      this.#map[word] = 0;
    }
  }
}
