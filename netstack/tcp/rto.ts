/**
 * The retransmission timeout (RFC 6298).
 *
 * @module
 */

import type { TcpSettings } from "./settings.ts";

/** Clock granularity G of RFC 6298 §2, ms. */
const GRANULARITY = 1;
/** RFC 6298 §5.7: what a connection starts with if its SYN had to be sent again. */
const RTO_AFTER_SYN_LOSS = 3_000;

/** The round-trip time estimate and the retransmission timeout made from it (RFC 6298). */
export class RtoEstimator {
  readonly #min: number;
  readonly #max: number;
  // Initialised: a declared field begins as undefined, and then each number stored is a new object.
  /** Without backoff, ms. */
  #base = Infinity;
  #backoff = 0;
  /** Smoothed round-trip time, ms; 0 before the first sample. */
  smoothed = 0;
  variation = 0;
  /** Smallest and latest sample, ms. */
  minimum = Infinity;
  latest = 0;

  constructor(settings: TcpSettings) {
    this.#min = settings.minRtoMs;
    this.#max = settings.maxRtoMs;
    this.#base = Math.max(settings.initialRtoMs, settings.minRtoMs);
  }

  /** The timeout as it stands, backoff included, ms. */
  get current(): number {
    return Math.min(this.#max, this.#base * 2 ** this.#backoff);
  }

  /** How often the timeout was doubled since the last valid sample. */
  get backoff(): number {
    return this.#backoff;
  }

  /**
   * Takes a measurement that Karn's rule allows: of a segment sent once, or by timestamps.
   *
   * @param samplesPerRound How many such samples one round trip brings; the weights are divided
   * by it, so that the memory stays as long as RFC 6298 meant (RFC 7323 appendix G).
   */
  sample(rtt: number, samplesPerRound: number): void {
    if (rtt < 0) return;
    this.latest = rtt;
    if (rtt < this.minimum) this.minimum = rtt;
    if (this.smoothed === 0) {
      this.smoothed = Math.max(rtt, Number.MIN_VALUE);
      this.variation = rtt / 2;
    } else {
      const beta = 0.25 / samplesPerRound;
      const alpha = 0.125 / samplesPerRound;
      this.variation += beta * (Math.abs(this.smoothed - rtt) - this.variation);
      this.smoothed += alpha * (rtt - this.smoothed);
    }
    const rto = this.smoothed + Math.max(GRANULARITY, 4 * this.variation);
    this.#base = Math.min(this.#max, Math.max(this.#min, rto));
    // RFC 6298 §5.7: any valid sample ends the backoff.
    this.#backoff = 0;
  }

  /** RFC 6298 §5.5. */
  backOff(): void {
    if (this.current < this.#max) this.#backoff++;
  }

  /** The peer answers, though it gives nothing to measure. */
  resetBackoff(): void {
    this.#backoff = 0;
  }

  /** RFC 6298 §5.7: the handshake is done, its SYN was retransmitted and nothing was measured. */
  synWasLost(): void {
    this.#backoff = 0;
    if (this.smoothed === 0) this.#base = Math.max(this.#base, RTO_AFTER_SYN_LOSS);
  }
}
