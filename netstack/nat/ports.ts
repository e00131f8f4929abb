/**
 * The external ports of one protocol and family.
 *
 * @module
 */

/** RFC 4787 REQ-3: ports below stay below, the others above. */
const HIGH = 1_024;
/** RFC 6888 REQ-8: a port that was given back is not given to somebody else before. */
const REST_MS = 120_000;

const ALL = -1;
const EVEN = 0x55555555;
const ODD = 0xaaaaaaaa | 0;

/** Bits by port, so that a free one is found among 32 at once. */
export class PortPool {
  readonly size: number;
  readonly #first: number;
  readonly #last: number;
  readonly #random: (out: Uint8Array) => void;
  readonly #dice = new Uint8Array(4);
  readonly #used = new Int32Array(2048);
  /** Given back in this period of rest, and in the one before. */
  #resting = new Int32Array(2048);
  #rested = new Int32Array(2048);
  #periodEnd = -Infinity;
  /** Who had the port last, as a hash. */
  readonly #holders = new Int32Array(65_536);
  #free: number;

  /** @param random Fills an array: nobody outside is to guess a port (RFC 6056 §3.3.1). */
  constructor(first: number, last: number, random: (out: Uint8Array) => void) {
    this.#first = first;
    this.#last = last;
    this.#random = random;
    this.size = this.#free = last - first + 1;
  }

  get free(): number {
    return this.#free;
  }

  /**
   * Takes a port: the one that is wanted if it is free, else a random one of its range and parity, else
   * any; one that rests only where there is no other.
   *
   * @param keepsRange Whether {@link HIGH} is a border.
   * @param holder A hash of who gets it: it may have what it had at once.
   * @returns -1 if there is none.
   */
  take(wanted: number, keepsRange: boolean, holder: number, now: number): number {
    if (this.#free === 0) return -1;
    this.#rest(now);
    const port = this.#choose(wanted, keepsRange, holder);
    this.#used[port >> 5]! |= 1 << port;
    this.#holders[port] = holder;
    this.#free--;
    return port;
  }

  /**
   * Gives back a port that was taken. It rests from now on, even if no port was taken or given back
   * for long.
   */
  give(port: number, now: number): void {
    this.#rest(now);
    this.#used[port >> 5]! &= ~(1 << port);
    this.#resting[port >> 5]! |= 1 << port;
    this.#free++;
  }

  #choose(wanted: number, keepsRange: boolean, holder: number): number {
    const isOurs = wanted >= this.#first && wanted <= this.#last;
    if (
      isOurs && !has(this.#used, wanted) &&
      (!this.#isResting(wanted) || this.#holders[wanted] === holder)
    ) return wanted;
    const border = Math.min(Math.max(HIGH, this.#first), this.#last + 1);
    const isLow = wanted < HIGH;
    let first = this.#first;
    let last = this.#last;
    if (keepsRange && border > first && border <= last) {
      if (isLow) last = border - 1;
      else first = border;
    }
    const parity = (wanted & 1) === 0 ? EVEN : ODD;
    let port = this.#search(first, last, parity, true);
    if (port < 0) port = this.#search(first, last, ALL, true);
    if (port < 0) port = this.#search(this.#first, this.#last, ALL, true);
    if (port < 0) port = this.#search(this.#first, this.#last, ALL, false);
    return port;
  }

  /** From a random place on, and round. @param parity Bits of a word that will do. */
  #search(first: number, last: number, parity: number, isRested: boolean): number {
    this.#random(this.#dice);
    const dice = (this.#dice[0]! << 24 | this.#dice[1]! << 16 | this.#dice[2]! << 8 |
      this.#dice[3]!) >>> 0;
    const start = first + dice % (last - first + 1);
    const found = this.#scan(start, last, parity, isRested);
    return found >= 0 ? found : this.#scan(first, start - 1, parity, isRested);
  }

  #scan(first: number, last: number, parity: number, isRested: boolean): number {
    for (let at = first; at <= last; at = (at | 31) + 1) {
      const word = at >> 5;
      let free = ~this.#used[word]! & parity & (-1 << at);
      if (isRested) free &= ~(this.#resting[word]! | this.#rested[word]!);
      if (free === 0) continue;
      const port = (word << 5) + 31 - Math.clz32(free & -free);
      return port <= last ? port : -1;
    }
    return -1;
  }

  #isResting(port: number): boolean {
    return has(this.#resting, port) || has(this.#rested, port);
  }

  #rest(now: number): void {
    if (now < this.#periodEnd) return;
    const isLong = now >= this.#periodEnd + REST_MS;
    // Periods end when somebody looks, so a port rests for one at least, and two at most.
    this.#periodEnd = isLong ? now + REST_MS : this.#periodEnd + REST_MS;
    [this.#resting, this.#rested] = [this.#rested, this.#resting];
    this.#resting.fill(0);
    if (isLong) this.#rested.fill(0);
  }
}

function has(bits: Int32Array, port: number): boolean {
  return (bits[port >> 5]! >>> port & 1) !== 0;
}
