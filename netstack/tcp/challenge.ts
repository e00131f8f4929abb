/**
 * The limit on challenge ACKs (RFC 5961 §10).
 *
 * @module
 */

/**
 * Limits challenge ACKs, all connections together, to a number per second that changes at random,
 * so that nobody can count them to learn about somebody else's connection (RFC 5961 §10,
 * CVE-2016-5696).
 */
export class ChallengeLimiter {
  readonly #perSecond: number;
  readonly #random: (out: Uint8Array) => void;
  readonly #bytes = new Uint8Array(4);
  #left = 0;
  #windowEnd = -Infinity;

  constructor(perSecond: number, random: (out: Uint8Array) => void) {
    this.#perSecond = perSecond;
    this.#random = random;
  }

  /** Whether one may be sent now. */
  take(now: number): boolean {
    if (now >= this.#windowEnd) {
      this.#windowEnd = now + 1_000;
      this.#random(this.#bytes);
      const b = this.#bytes;
      const fraction = (b[0]! | b[1]! << 8 | b[2]! << 16) / 0x1000000;
      // From 0.5 to 1.5 times the setting.
      this.#left = Math.ceil(this.#perSecond * (0.5 + fraction));
    }
    if (this.#left <= 0) return false;
    this.#left--;
    return true;
  }
}
