/**
 * How many connection requests a second a peer may make beside others whose data moves: by what is left
 * of the processor. A gateway with time to spare holds nobody back, one without leaves most of it to
 * the streams.
 *
 * @module
 */

/**
 * Requests a second: what others put up with on a processor that is full, and what is as good as no
 * limit. A connection takes a fast core 0.2 to 0.3 ms.
 */
export const LEAST_RATE = 500;
export const MOST_RATE = 16_000;
/** How often is looked, ms, and how the rate changes each time. */
const WINDOW_MS = 100;
const MORE = 1.25;
const LESS = 0.85;
const MUCH_LESS = 0.5;
/** Shares of a core. Below the first there is time to spare, and above the last none. */
const SPARE = 0.55;
const BUSY = 0.68;
const FULL = 0.85;
/**
 * A timer that is later than this waited for the processor, ms: another program's, or this one's other
 * work.
 */
const LATE_MS = 20;

export class RequestRate {
  readonly #cpuTime: (() => number) | undefined;
  #rate: number;
  #at = -Infinity;
  #used = 0;
  #isLate = false;

  /**
   * @param cpuTime What this process has used of its processors so far, ms. Undefined where nobody
   * knows: then there is never time to spare.
   */
  constructor(cpuTime: (() => number) | undefined) {
    this.#cpuTime = cpuTime;
    this.#rate = cpuTime === undefined ? LEAST_RATE : MOST_RATE;
  }

  /** Requests a second. @param now Milliseconds, monotonic. */
  at(now: number): number {
    const elapsed = now - this.#at;
    if (elapsed < WINDOW_MS || this.#cpuTime === undefined) return this.#rate;
    const used = this.#cpuTime();
    // The first time, the mean since the start of the process counts for nothing.
    const share = this.#at === -Infinity ? 0 : (used - this.#used) / elapsed;
    const factor = this.#isLate || share > FULL
      ? MUCH_LESS
      : share > BUSY
      ? LESS
      : share < SPARE
      ? MORE
      : 1;
    // Who is asked rarely looks back as long.
    const rate = this.#rate * factor ** Math.min(elapsed / WINDOW_MS, 100);
    this.#rate = Math.min(MOST_RATE, Math.max(LEAST_RATE, rate));
    this.#at = now;
    this.#used = used;
    this.#isLate = false;
    return this.#rate;
  }

  /** A timer was so late, ms. */
  noteLateness(ms: number): void {
    if (ms > LATE_MS) this.#isLate = true;
  }
}
