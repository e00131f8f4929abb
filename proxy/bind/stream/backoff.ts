/**
 * When to try again: exponential backoff with full jitter, so that those whom one fault has cut off do
 * not all come back at once.
 *
 * @module
 */

const FIRST_MS = 1_000;
const LAST_MS = 60_000;

export class Backoff {
  readonly #random: () => number;
  #limitMs = FIRST_MS;

  /** @param random At least 0, less than 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** After another failure: how long to wait, ms. */
  next(): number {
    const delay = this.#random() * this.#limitMs;
    this.#limitMs = Math.min(LAST_MS, this.#limitMs * 2);
    return delay;
  }

  /** It has worked. */
  reset(): void {
    this.#limitMs = FIRST_MS;
  }
}
