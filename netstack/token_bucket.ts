/**
 * A limit over time that lets short bursts through.
 *
 * @module
 */

export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #filledAt = -Infinity;

  constructor(perSecond: number, burst: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /**
   * Takes `cost` tokens, one on average. A random cost keeps an attacker from learning, by probing
   * the limit, what else was sent (CVE-2020-25705).
   *
   * @returns false if there is none.
   */
  take(now: number, cost: number): boolean {
    if (now > this.#filledAt) {
      const earned = (now - this.#filledAt) * this.#perMs;
      this.#tokens = Math.min(this.#burst, this.#tokens + earned);
      this.#filledAt = now;
    }
    if (this.#tokens < 1) return false;
    this.#tokens = Math.max(0, this.#tokens - cost);
    return true;
  }
}
