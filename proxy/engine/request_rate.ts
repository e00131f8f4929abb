/**
 * How many connection requests a second a peer may make while others move data, by how much of the
 * processor is left. A gateway with time to spare holds nobody back; one without gives most of its time
 * to the streams.
 *
 * @module
 */

/**
 * Requests a second: what others can bear on a busy processor, and what is as good as no limit. A
 * connection takes 0.2 to 0.3 ms of a fast core.
 */
export const LEAST_RATE = 500;
export const MOST_RATE = 16_000;
/** How often to look, ms, and the factors by which the rate changes then. */
const WINDOW_MS = 100;
const MORE = 1.25;
const LESS = 0.85;
const MUCH_LESS = 0.5;
/** Shares of a core. Below the first there is time to spare, and above the last none. */
const SPARE = 0.55;
const BUSY = 0.68;
const FULL = 0.85;
/**
 * A timer later than this, ms, waited for the processor: other programs had it, or other work of this one.
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
    // The first time this would be the mean since the process started, which says nothing.
    const share = this.#at === -Infinity ? 0 : (used - this.#used) / elapsed;
    const factor = this.#isLate || share > FULL
      ? MUCH_LESS
      : share > BUSY
      ? LESS
      : share < SPARE
      ? MORE
      : 1;
    // Asked rarely, it makes up for the time in between.
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
