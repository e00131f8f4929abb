/** A rate limit: `rate` per second on average, `burst` at once. */
export class TokenBucket {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #at = -Infinity;

  constructor(rate: number, burst: number) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /**
   * Takes `cost` tokens, one on average. A cost that a stranger cannot foresee keeps him from
   * reading off the bucket what else was limited (CVE-2020-25705).
   *
   * @returns Whether there was one.
   */
  take(cost: number, now: number): boolean {
    if (now > this.#at) {
      const earned = this.#at === -Infinity ? this.#burst : (now - this.#at) * this.#rate / 1000;
      this.#tokens = Math.min(this.#burst, this.#tokens + earned);
      this.#at = now;
    }
    if (this.#tokens < 1) return false;
    this.#tokens = Math.max(0, this.#tokens - cost);
    return true;
  }
}
