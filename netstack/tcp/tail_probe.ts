/**
 * The tail loss probe (RFC 8985 §7).
 *
 * @module
 */

import { before } from "./sequence.ts";

/** RFC 8985 §7.2: how long the peer may hold back the ACK of a single segment, ms. */
const MAX_ACK_DELAY = 200;
/** Before the first measurement, ms. */
const FIRST_TIMEOUT = 1_000;

/**
 * The tail loss probe (RFC 8985 §7): when the last segments of a flight go unanswered, one is sent
 * once more before the retransmission timer takes the window away.
 */
export class TailProbe {
  /** When the probe is due (PTO), ms; Infinity = off. */
  timer = Infinity;
  /** A probe is on its way; only one at a time. */
  pending = false;
  /** TLP.end_seq: SND.NXT when it was sent. */
  #end = 0;
  /** TLP.is_retrans: it repeated something. */
  #repeated = false;

  /**
   * New data was sent or acknowledged (§7.2).
   *
   * @param smoothed Smoothed round-trip time, ms; 0 = not known.
   * @param retransmission When the retransmission timer expires.
   */
  arm(smoothed: number, oneSegment: boolean, retransmission: number, now: number): void {
    let timeout = smoothed > 0 ? 2 * smoothed : FIRST_TIMEOUT;
    if (oneSegment) timeout += MAX_ACK_DELAY;
    this.timer = Math.min(now + timeout, retransmission);
  }

  /** The probe was sent (§7.3). */
  sent(nxt: number, repeated: boolean): void {
    this.timer = Infinity;
    this.pending = true;
    this.#end = nxt;
    this.#repeated = repeated;
  }

  /** Another repair has taken over. */
  cancel(): void {
    this.timer = Infinity;
    this.pending = false;
  }

  /**
   * Judges an ACK (§7.4.2).
   *
   * @returns Whether the probe repaired a loss that nobody else noticed: congestion.
   */
  acknowledged(ack: number, duplicate: boolean, reported: boolean, sackBlocks: number): boolean {
    if (!this.pending || before(ack, this.#end)) return false;
    if (!this.#repeated || reported) {
      this.pending = false;
      return false;
    }
    if (ack !== this.#end) {
      this.pending = false;
      return true;
    }
    if (duplicate && sackBlocks === 0) this.pending = false;
    return false;
  }
}
