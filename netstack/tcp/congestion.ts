/**
 * Congestion control: the interface, NewReno (RFC 5681, RFC 6582), and none.
 *
 * @module
 */

import { HyStart } from "./hystart.ts";
import type { RtoEstimator } from "./rto.ts";

/** Largest window: far above any buffer, far below where numbers stop being exact integers. */
export const MAX_WINDOW = 2 ** 30;

/**
 * Decides how much may be in flight. The sender keeps the scoreboard and the recovery state; this
 * keeps the window. Sizes in bytes.
 */
export interface CongestionControl {
  readonly window: number;
  readonly threshold: number;
  /** The path MTU or the peer changed the segment size. */
  setSegmentSize(mss: number): void;
  /** `bytes` newly delivered outside of recovery, while the window was what limited sending. */
  acknowledged(bytes: number, path: RtoEstimator, una: number, nxt: number, now: number): void;
  /**
   * Loss was found; recovery starts. Sets {@link threshold}.
   *
   * @param from The window to reduce, if it is not {@link window}.
   */
  lost(inFlight: number, from?: number): void;
  /** During recovery: what proportional rate reduction allows. */
  setWindow(bytes: number): void;
  /** Recovery is over. */
  recovered(now: number): void;
  /** The retransmission timer expired. `first` = not a repetition for the same data. */
  timedOut(inFlight: number, first: boolean, now: number): void;
  /** Nothing was sent for longer than the RTO. */
  idle(): void;
  /** The reduction was unwarranted: nothing had been lost. */
  undo(): void;
}

/** RFC 5681 with the initial window of RFC 6928. */
export class NewReno implements CongestionControl {
  window: number;
  threshold = MAX_WINDOW;
  readonly #slowStart = new HyStart();
  #mss: number;
  /** Bytes acknowledged towards the next segment of growth (RFC 3465). */
  #credit = 0;
  #windowBefore = 0;
  #thresholdBefore = 0;

  constructor(mss: number) {
    this.#mss = mss;
    this.window = initialWindow(mss);
  }

  setSegmentSize(mss: number): void {
    this.window = resized(this.window, this.#mss, mss);
    this.#mss = mss;
  }

  acknowledged(bytes: number, path: RtoEstimator, una: number, nxt: number): void {
    if (this.window < this.threshold) {
      this.window = slowStart(this, this.#slowStart, bytes, path, una, nxt);
      if (this.#slowStart.done) this.threshold = Math.min(this.threshold, this.window);
      return;
    }
    this.#credit += bytes;
    if (this.#credit >= this.window) {
      this.#credit -= this.window;
      this.window = Math.min(MAX_WINDOW, this.window + this.#mss);
    }
  }

  lost(inFlight: number, from: number = this.window): void {
    this.#remember();
    this.#reduce(Math.min(inFlight, from));
    this.#credit = 0;
  }

  setWindow(bytes: number): void {
    this.window = Math.max(this.#mss, Math.min(MAX_WINDOW, bytes));
  }

  recovered(): void {
    this.window = this.threshold;
    this.#credit = 0;
  }

  timedOut(inFlight: number, first: boolean): void {
    if (first) {
      this.#remember();
      this.#reduce(Math.min(inFlight, this.window));
    }
    this.window = this.#mss;
    this.#credit = 0;
  }

  idle(): void {
    // RFC 5681 §4.1: the restart window.
    this.window = Math.min(this.window, initialWindow(this.#mss));
  }

  undo(): void {
    this.window = Math.max(this.window, this.#windowBefore);
    this.threshold = Math.max(this.threshold, this.#thresholdBefore);
  }

  /**
   * RFC 5681 §3.1 equation 4.
   *
   * @param used What is in flight, but no more than the window: with data that was SACKed in the
   * last recovery it may be more.
   */
  #reduce(used: number): void {
    this.threshold = Math.max(Math.floor(used / 2), 2 * this.#mss);
  }

  #remember(): void {
    this.#windowBefore = this.window;
    this.#thresholdBefore = this.threshold;
  }
}

/** No congestion window: only the peer's window limits sending. */
export class NoCongestionControl implements CongestionControl {
  readonly window = MAX_WINDOW;
  readonly threshold = MAX_WINDOW;
  setSegmentSize(): void {}
  acknowledged(): void {}
  lost(): void {}
  setWindow(): void {}
  recovered(): void {}
  timedOut(): void {}
  idle(): void {}
  undo(): void {}
}

/**
 * @returns The window for segments of another size. One counted in segments keeps its count when
 * they shrink (RFC 1191 §6.4); when they grow it would be a burst (RFC 4821 §7.4 keeps the bytes).
 */
export function resized(window: number, before: number, mss: number): number {
  return Math.max(mss, Math.min(window, Math.floor(window / before) * mss));
}

/** RFC 6928 §2. */
export function initialWindow(mss: number): number {
  return Math.min(10 * mss, Math.max(2 * mss, 14_600));
}

/**
 * Growth by what was acknowledged (RFC 3465 §2.2), without a limit: one ACK may stand for many
 * segments, as everywhere where segments are coalesced (RFC 9406 §4.3 raises it, too).
 *
 * @returns The new window.
 */
export function slowStart(
  { window, threshold }: CongestionControl,
  first: HyStart,
  bytes: number,
  path: RtoEstimator,
  una: number,
  nxt: number,
): number {
  // Only the first one: later the threshold says where to stop (RFC 9406 §4.3).
  const searching = threshold === MAX_WINDOW && !first.done;
  const growth = searching ? first.growth(bytes, path.latest, una, nxt) : bytes;
  return Math.min(MAX_WINDOW, Math.floor(window + growth));
}
