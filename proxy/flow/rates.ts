/**
 * How fast something moves, from totals that are looked at once a second: the packets pay nothing.
 *
 * @module
 */

/** Bytes per second. */
export interface RateStats {
  /** Over the last second that was measured, towards the target. */
  readonly upLastSecond: number;
  /** The same towards the source. */
  readonly downLastSecond: number;
  /** Over the last minute, or since the beginning if that is less. */
  readonly upLastMinute: number;
  /** As {@link upLastMinute}. */
  readonly downLastMinute: number;
}

export const NO_RATES: RateStats = {
  upLastSecond: 0,
  downLastSecond: 0,
  upLastMinute: 0,
  downLastMinute: 0,
};

const MINUTE_MS = 60_000;
/** Between two totals that are kept. */
const STEP_MS = 10_000;
/** Enough to look a minute back: one for each step, and where it rested between two, one more. */
const KEPT = 2 * (MINUTE_MS / STEP_MS + 1);

export class Rates {
  /** Over the last second, bytes per second. */
  up = 0;
  down = 0;
  readonly #beganAt: number;
  #at: number;
  #up = 0;
  #down = 0;
  /** Totals, the oldest first: time, up, down. None for what is over within seconds. */
  #kept: number[] | undefined = undefined;

  /** @param now Milliseconds, monotonic. The totals are 0 then. */
  constructor(now: number) {
    this.#beganAt = now;
    this.#at = now;
  }

  /**
   * Takes the totals as they are.
   *
   * @param since Until when nothing has moved since the last sample: the samples of what rests may be
   * left out.
   */
  sample(now: number, since: number, up: number, down: number): void {
    if (since > this.#at) {
      const hasRested = since - this.#at >= STEP_MS;
      if (hasRested) this.#keep(0);
      this.#at = since;
      if (hasRested) this.#keep(0);
    }
    const elapsed = now - this.#at;
    if (elapsed <= 0) return;
    this.up = (up - this.#up) * 1000 / elapsed;
    this.down = (down - this.#down) * 1000 / elapsed;
    this.#at = now;
    this.#up = up;
    this.#down = down;
    this.#keep(STEP_MS);
  }

  /** Whether anything moved between the last two samples. */
  get isMoving(): boolean {
    return this.up !== 0 || this.down !== 0;
  }

  stats(now: number): RateStats {
    return {
      upLastSecond: Math.round(this.up),
      downLastSecond: Math.round(this.down),
      upLastMinute: this.#lastMinute(now, 1, this.#up),
      downLastMinute: this.#lastMinute(now, 2, this.#down),
    };
  }

  /** @param step The least time since the one before. */
  #keep(step: number): void {
    const kept = this.#kept;
    const last = kept === undefined ? this.#beganAt : kept[kept.length - 3]!;
    if (this.#at - last < step) return;
    if (kept === undefined) this.#kept = [this.#beganAt, 0, 0, this.#at, this.#up, this.#down];
    else {
      if (kept.length === 3 * KEPT) {
        kept.copyWithin(0, 3);
        kept.length -= 3;
      }
      kept.push(this.#at, this.#up, this.#down);
    }
  }

  /** @param column Of the total among those kept. */
  #lastMinute(now: number, column: 1 | 2, total: number): number {
    const from = Math.max(now - MINUTE_MS, this.#beganAt);
    // Less than a second is no time to measure a rate over.
    const elapsed = Math.max(now - from, 1000);
    return Math.round((total - this.#totalAt(from, column, total)) * 1000 / elapsed);
  }

  /** By the two samples around it, as if it had gone evenly between them. */
  #totalAt(at: number, column: 1 | 2, total: number): number {
    if (at >= this.#at) return total; // nothing has moved since
    const kept = this.#kept ?? [this.#beganAt, 0, 0];
    let i = 0;
    while (i + 3 < kept.length && kept[i + 3]! <= at) i += 3;
    const [beforeAt, before] = [kept[i]!, kept[i + column]!];
    const hasNext = i + 3 < kept.length;
    const [afterAt, after] = hasNext ? [kept[i + 3]!, kept[i + 3 + column]!] : [this.#at, total];
    if (at <= beforeAt || afterAt <= beforeAt) return before;
    return before + (after - before) * (at - beforeAt) / (afterAt - beforeAt);
  }
}
