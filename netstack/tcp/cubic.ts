/**
 * CUBIC congestion control (RFC 9438).
 *
 * @module
 */

import {
  type CongestionControl,
  initialWindow,
  MAX_WINDOW,
  resized,
  slowStart,
} from "./congestion.ts";
import { HyStart } from "./hystart.ts";
import type { RtoEstimator } from "./rto.ts";

/** RFC 9438 §5: C, in segments per second cubed. */
const C = 0.4;
/** RFC 9438 §4.6: what is left of the window after a loss. */
const BETA = 0.7;
/** RFC 9438 §4.3: additive increase that gives Reno's average window with β = 0.7. */
const ALPHA = 3 * (1 - BETA) / (1 + BETA);

/** CUBIC (RFC 9438): the window grows with the cube of the time since the last loss. */
export class Cubic implements CongestionControl {
  window: number;
  /** Part of a byte by which the window is larger: growth per ACK may be less than one. */
  #fraction = 0;
  threshold = MAX_WINDOW;
  readonly #slowStart = new HyStart();
  #mss: number;
  /** Window in segments just before the last reduction: where the curve is flat. */
  #wMax = 0;
  /** Seconds from the reduction to {@link #wMax}. */
  #k = 0;
  /** Start of the congestion avoidance stage, ms; -1 before its first ACK. */
  #epoch = -1;
  /** What Reno would have, in segments (§4.3), and the window it has to regain before it grows by 1. */
  #wEst = 0;
  #wPrior = 0;
  #lastGrowth = 0;
  /** The next congestion avoidance stage is the first after a timeout. */
  #restarted = false;
  /** State before the last reduction, for {@link undo} (§4.9). */
  #before = { window: 0, threshold: 0, wMax: 0, k: 0, epoch: -1, wEst: 0, wPrior: 0 };

  constructor(mss: number) {
    this.#mss = mss;
    this.window = initialWindow(mss);
  }

  setSegmentSize(mss: number): void {
    this.window = resized(this.window, this.#mss, mss);
    this.#mss = mss;
  }

  acknowledged(bytes: number, path: RtoEstimator, una: number, nxt: number, now: number): void {
    const smoothedRtt = path.smoothed;
    if (this.window < this.threshold) {
      this.window = slowStart(this, this.#slowStart, bytes, path, una, nxt);
      if (this.#slowStart.done) this.threshold = Math.min(this.threshold, this.window);
      return;
    }
    const mss = this.#mss;
    const segments = (this.window + this.#fraction) / mss;
    if (this.#epoch < 0) {
      this.#startEpoch(segments, now);
    } else if (now - this.#lastGrowth > 2 * smoothedRtt) {
      // §5.8: time in which the window was not what limited sending does not count.
      this.#epoch = Math.min(now, this.#epoch + (now - this.#lastGrowth) - smoothedRtt);
    }
    this.#lastGrowth = now;

    const acked = bytes / mss;
    const elapsed = (now - this.#epoch) / 1000;
    // §4.3: after Reno would have its old window back, it grows by a whole segment per round trip.
    this.#wEst += (this.#wEst >= this.#wPrior ? 1 : ALPHA) * acked / segments;
    if (this.#curve(elapsed) < this.#wEst) {
      this.#grow(Math.max(segments, this.#wEst));
      return;
    }
    // §4.2, §4.4, §4.5: towards what the curve says one round trip from now, by at most half.
    const target = Math.min(
      1.5 * segments,
      Math.max(segments, this.#curve(elapsed + smoothedRtt / 1000)),
    );
    this.#grow(segments + (target - segments) / segments * acked);
  }

  lost(inFlight: number, from: number = this.window): void {
    this.#remember();
    this.#reduce(inFlight, from);
  }

  setWindow(bytes: number): void {
    this.window = Math.max(this.#mss, Math.min(MAX_WINDOW, bytes));
  }

  recovered(): void {
    this.window = this.threshold;
    this.#epoch = -1;
  }

  timedOut(inFlight: number, first: boolean): void {
    if (first) {
      this.#remember();
      this.#reduce(inFlight, this.window);
    }
    this.window = this.#mss;
    this.#epoch = -1;
    this.#restarted = true;
  }

  idle(): void {
    this.window = Math.min(this.window, initialWindow(this.#mss));
    this.#epoch = -1;
  }

  undo(): void {
    const before = this.#before;
    this.window = Math.max(this.window, before.window);
    this.threshold = Math.max(this.threshold, before.threshold);
    this.#wMax = before.wMax;
    this.#k = before.k;
    this.#epoch = before.epoch;
    this.#wEst = before.wEst;
    this.#wPrior = before.wPrior;
  }

  /** §4.6 and, for fast convergence, §4.7. */
  #reduce(inFlight: number, window: number): void {
    const segments = window / this.#mss;
    this.#wPrior = segments;
    this.#wMax = segments < this.#wMax ? segments * (1 + BETA) / 2 : segments;
    // What is in flight beside SACKed data of the last recovery may be more than the window.
    const used = Math.min(inFlight, window);
    this.threshold = Math.max(Math.floor(used * BETA), 2 * this.#mss);
    this.#epoch = -1;
  }

  /** §4.2: the first ACK of a congestion avoidance stage fixes the curve. */
  #startEpoch(segments: number, now: number): void {
    this.#epoch = now;
    this.#lastGrowth = now;
    this.#wEst = segments;
    // §4.8: after a timeout the curve starts where it is flat.
    const restarted = this.#restarted;
    this.#restarted = false;
    if (segments < this.#wMax && !restarted) {
      this.#k = Math.cbrt((this.#wMax - segments) / C);
    } else {
      this.#wMax = segments;
      this.#k = 0;
    }
  }

  /** §4.2 equation 1, in segments. */
  #curve(seconds: number): number {
    const t = seconds - this.#k;
    return C * t * t * t + this.#wMax;
  }

  #grow(segments: number): void {
    const window = Math.min(MAX_WINDOW, segments * this.#mss);
    this.window = Math.floor(window);
    this.#fraction = window - this.window;
  }

  #remember(): void {
    const before = this.#before;
    before.window = this.window;
    before.threshold = this.threshold;
    before.wMax = this.#wMax;
    before.k = this.#k;
    before.epoch = this.#epoch;
    before.wEst = this.#wEst;
    before.wPrior = this.#wPrior;
  }
}
