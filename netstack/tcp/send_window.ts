/**
 * The peer's window (RFC 9293 §3.8.6).
 *
 * @module
 */

import type { Segment } from "./header.ts";
import { before } from "./sequence.ts";

/** What the peer will take (SND.WND and its kin, RFC 9293 §3.3.1). Bytes. */
export class SendWindow {
  size = 0;
  /** MAX.SND.WND of RFC 5961 §5.2. */
  largest = 0;
  /** SND.WL1 and SND.WL2: the segment the size was taken from. */
  #sequence = 0;
  #acknowledgment = 0;

  start(segment: Segment, size: number): void {
    this.#take(segment, size);
  }

  /**
   * RFC 9293 §3.10.7.4: only a segment that is not older than the last may change it. One that
   * acknowledges more is newer, though it repeats old data (Linux tcp_may_update_window() does the
   * same): the old size counted from the new SND.UNA would end behind what the peer takes.
   *
   * @param advances It acknowledges more than any before.
   */
  update(segment: Segment, size: number, advances: boolean): void {
    if (!advances) {
      const sequence = segment.sequence;
      if (before(sequence, this.#sequence)) return;
      const older = before(segment.acknowledgment, this.#acknowledgment);
      if (sequence === this.#sequence && older) return;
    }
    this.#take(segment, size);
  }

  #take(segment: Segment, size: number): void {
    this.#sequence = segment.sequence;
    this.#acknowledgment = segment.acknowledgment;
    this.size = size;
    if (size > this.largest) this.largest = size;
  }
}
