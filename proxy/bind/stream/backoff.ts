/**
 * When to try again: later and later, by exponential backoff. With full jitter those whom one fault has cut
 * off do not all come back at once.
 *
 * @module
 */

export interface BackoffOptions {
  /** The first pause, ms. Default: a second. */
  readonly firstMs?: number;
  /** The longest, ms. Default: a minute. */
  readonly lastMs?: number;
  /** What of a pause is waited, from 0 to 1. Default: all of it. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #limitMs: number;

  constructor({ firstMs = 1_000, lastMs = 60_000, random = () => 1 }: BackoffOptions = {}) {
    this.#options = { firstMs, lastMs, random };
    this.#limitMs = firstMs;
  }

  /** After another failure: how long to wait, ms. */
  next(): number {
    const { lastMs, random } = this.#options;
    const delay = random() * this.#limitMs;
    this.#limitMs = Math.min(lastMs, this.#limitMs * 2);
    return delay;
  }

  /** It has worked. */
  reset(): void {
    this.#limitMs = this.#options.firstMs;
  }
}
