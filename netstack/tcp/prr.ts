/**
 * Proportional rate reduction (RFC 9937).
 *
 * @module
 */

/**
 * Proportional rate reduction (RFC 9937): during recovery the window falls to its new size in step
 * with what is delivered, and never makes a burst.
 */
export class RateReduction {
  #delivered = 0;
  #out = 0;
  #flight = 1;

  /** Recovery begins with `flight` bytes that may still be delivered (RecoverFS). */
  start(flight: number): void {
    this.#delivered = 0;
    this.#out = 0;
    this.#flight = Math.max(1, flight);
  }

  sent(bytes: number): void {
    this.#out += bytes;
  }

  /**
   * RFC 9937 §6.2.
   *
   * @param delivered Bytes that an ACK newly told of.
   * @param safe It moved SND.UNA and told of no further loss (SafeACK): then what is in flight may
   * grow towards the threshold as in slow start; if not, one byte goes for each that has left.
   * @returns The congestion window until the next ACK, bytes.
   */
  window(delivered: number, pipe: number, threshold: number, mss: number, safe: boolean): number {
    this.#delivered += delivered;
    if (pipe > threshold) {
      const due = Math.ceil(this.#delivered * threshold / this.#flight);
      return pipe + Math.max(0, due - this.#out);
    }
    const limit = Math.max(this.#delivered - this.#out, delivered) + (safe ? mss : 0);
    return pipe + Math.max(0, Math.min(threshold - pipe, limit));
  }
}
