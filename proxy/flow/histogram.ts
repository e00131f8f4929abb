/**
 * Histograms of times, with fixed buckets: what Prometheus wants of a process, and cheap enough for
 * every connection.
 *
 * @module
 */

/** Upper bounds, inclusive, ms: from a neighbour on the same machine to a dial that was nearly given up. */
export const TIME_BOUNDS_MS: readonly number[] = [
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  25,
  50,
  100,
  250,
  500,
  1_000,
  2_500,
  5_000,
  10_000,
];

/** A histogram as plain values. */
export interface HistogramStats {
  /** How many times were measured. */
  readonly count: number;
  /** Of all of them, ms. */
  readonly sumMs: number;
  /**
   * How many were at most so long, in ascending order of `leMs`; those above the last bound are in
   * `count` alone.
   */
  readonly buckets: readonly { readonly leMs: number; readonly count: number }[];
}

/** Counts times in ms. */
export class Histogram {
  readonly bounds: readonly number[];
  /** Of each bucket alone, not of those below it; the last is for what is above every bound. */
  readonly counts: number[];
  count = 0;
  /** Milliseconds. */
  sum = 0;

  /** @param bounds Ascending. */
  constructor(bounds: readonly number[] = TIME_BOUNDS_MS) {
    this.bounds = bounds;
    this.counts = new Array(bounds.length + 1).fill(0);
  }

  observe(ms: number): void {
    const { bounds } = this;
    let bucket = 0;
    while (bucket < bounds.length && ms > bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.count++;
    this.sum += ms;
  }

  stats(): HistogramStats {
    let count = 0;
    const buckets = this.bounds.map((leMs, i) => ({ leMs, count: count += this.counts[i]! }));
    return { count: this.count, sumMs: this.sum, buckets };
  }
}
