/**
 * RACK: losses found by time instead of by counting (RFC 8985 §6).
 *
 * @module
 */

import { after, before } from "./sequence.ts";

/** RFC 5681 §3.2, RFC 6675 §2, RFC 8985 §6.2. */
export const DUP_THRESH = 3;
/** RFC 8985 §6.2 step 4: recoveries without a D-SACK until the window is small again. */
const PERSIST = 16;
/** Step 4 starts with a quarter of the smallest round trip. */
const FRACTION = 4;
/** But not less than segments of one burst may be apart, ms. */
const SMALLEST_WINDOW = 1;

/**
 * What RACK knows about the path (RFC 8985 §5.2): which of the delivered segments was sent last,
 * and how far segments overtake each other. Times in ms.
 */
export class Rack {
  /** RACK.xmit_ts and RACK.end_seq: of the most recently sent segment that was delivered. */
  sentAt = -Infinity;
  #end = 0;
  /** RACK.rtt: of that segment. */
  roundTrip = 0;
  /** RACK.fack: the highest sequence number delivered. */
  #forward = 0;
  /** RACK.reordering_seen */
  reorderingSeen = false;
  /** RACK.reo_wnd_mult */
  #multiplier = 1;
  /** RACK.reo_wnd_persist */
  #persist = PERSIST;
  /** RACK.dsack_round: duplicates reported before this number is acknowledged count once. */
  #round = 0;
  #roundOpen = false;

  reset(una: number): void {
    this.#end = una;
    this.#forward = una;
  }

  /**
   * A segment that ends at `end` has been delivered (steps 1 to 3). Segments of one ACK come in
   * ascending order.
   */
  delivered(
    end: number,
    sentAt: number,
    retransmitted: boolean,
    minimumRoundTrip: number,
    now: number,
  ): void {
    if (after(end, this.#forward)) this.#forward = end;
    else if (before(end, this.#forward) && !retransmitted) this.reorderingSeen = true;
    // Too soon to be the answer to the retransmission. A timestamp could tell as well, but the
    // echo of a segment out of order is an old one (RFC 7323 §4.3).
    if (retransmitted && now - sentAt < minimumRoundTrip) return;
    if (sentAt < this.sentAt) return;
    if (sentAt > this.sentAt || after(end, this.#end)) {
      this.sentAt = sentAt;
      this.#end = end;
      this.roundTrip = now - sentAt;
    }
  }

  /** Whether a segment that has been delivered was sent after this one (RACK_sent_after). */
  isOlder(sentAt: number, end: number): boolean {
    return sentAt < this.sentAt || (sentAt === this.sentAt && before(end, this.#end));
  }

  /** The receiver reported a duplicate: we were too quick (step 4). */
  duplicateReported(una: number, nxt: number): void {
    if (this.#roundOpen && before(una, this.#round)) return;
    this.#roundOpen = true;
    this.#round = nxt;
    this.#multiplier++;
    this.#persist = PERSIST;
  }

  /**
   * Fast recovery or loss recovery is over (step 4). After so many without a needless
   * retransmission, what looked like reordering was lost ACKs, or has ended.
   */
  recovered(): void {
    if (--this.#persist > 0) return;
    this.#multiplier = 1;
    this.#persist = PERSIST;
    this.reorderingSeen = false;
  }

  /** RACK.reo_wnd: how much later than others a segment may arrive and not be lost (step 4). */
  window(
    inRecovery: boolean,
    segmentsSacked: number,
    minimumRoundTrip: number,
    smoothed: number,
  ): number {
    if (!this.reorderingSeen && (inRecovery || segmentsSacked >= DUP_THRESH)) return 0;
    const window = Math.min(this.#multiplier * minimumRoundTrip / FRACTION, smoothed);
    return Math.max(SMALLEST_WINDOW, window);
  }
}
