/**
 * HyStart++: an end of slow start before losses (RFC 9406).
 *
 * @module
 */

import { before } from "./sequence.ts";

/** RFC 9406 §4.2: MIN_RTT_THRESH and MAX_RTT_THRESH, ms. */
const LEAST_RISE = 4;
const MOST_RISE = 16;
/** MIN_RTT_DIVISOR: the share of the round trip by which it has to rise. */
const RISE_DIVISOR = 8;
/** N_RTT_SAMPLE: samples of a round before it is judged. */
const SAMPLES = 8;
/** CSS_GROWTH_DIVISOR */
const CAUTION = 4;
/** CSS_ROUNDS */
const CAUTIOUS_ROUNDS = 5;

/**
 * HyStart++ (RFC 9406): the first slow start of a connection ends when the round trip gets longer,
 * which is a queue filling, and not only when that queue overflows.
 */
export class HyStart {
  /** windowEnd: SND.NXT when the round began. */
  #roundEnd = 0;
  #started = false;
  #samples = 0;
  /** currentRoundMinRTT and lastRoundMinRTT, ms. */
  #current = Infinity;
  #last = Infinity;
  /** Conservative slow start: the round trip has risen, but perhaps by chance. */
  #cautious = false;
  #cautiousRounds = 0;
  /** cssBaselineMinRtt */
  #baseline = Infinity;
  /** Slow start is over. */
  done = false;

  /**
   * An ACK in slow start.
   *
   * @param rtt The round trip it measured, ms.
   * @returns By how much the window may grow for `bytes`.
   */
  growth(bytes: number, rtt: number, una: number, nxt: number): number {
    if (!this.#started || !before(una, this.#roundEnd)) this.#newRound(nxt);
    this.#current = Math.min(this.#current, rtt);
    this.#samples++;
    if (this.#samples >= SAMPLES) this.#judge();
    return this.#cautious ? bytes / CAUTION : bytes;
  }

  #newRound(nxt: number): void {
    this.#started = true;
    this.#roundEnd = nxt;
    this.#last = this.#current;
    this.#current = Infinity;
    this.#samples = 0;
    if (this.#cautious && ++this.#cautiousRounds >= CAUTIOUS_ROUNDS) this.done = true;
  }

  #judge(): void {
    if (this.#cautious) {
      // The rise was jitter.
      if (this.#current < this.#baseline) this.#cautious = false;
      return;
    }
    const rise = Math.max(LEAST_RISE, Math.min(this.#last / RISE_DIVISOR, MOST_RISE));
    if (this.#current < this.#last + rise) return;
    this.#baseline = this.#current;
    this.#cautious = true;
    this.#cautiousRounds = 0;
  }
}
