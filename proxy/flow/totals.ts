/**
 * What many flows did together: those of a peer, of a rule, to a network of targets.
 *
 * @module
 */

import { NO_RATES, Rates, type RateStats } from "./rates.ts";

/** Times that were measured, ms. */
export interface TimeStats {
  /** How many. */
  readonly count: number;
  /** Null before the first. */
  readonly meanMs: number | null;
  /** As {@link meanMs}. */
  readonly maxMs: number | null;
}

/** Figures of a group of flows, since the start. */
export interface TotalsStats {
  /** That have begun. */
  readonly flows: number;
  /** That are under way. */
  readonly live: number;
  /** That were refused. */
  readonly refused: number;
  /** Towards the targets. */
  readonly bytesUp: number;
  /** As {@link bytesUp}, back. */
  readonly bytesDown: number;
  /** Of TCP segments towards and from the source, those without data among them; else datagrams. */
  readonly packetsUp: number;
  /** As {@link packetsUp}. */
  readonly packetsDown: number;
  /** TCP segments towards the source that were sent again. */
  readonly retransmits: number;
  /** TCP segments of the source that came before those in front of them. */
  readonly outOfOrder: number;
  /** How long targets took to be connected. */
  readonly dial: TimeStats;
  /** Round trips to the source, TCP's: one for each connection when it ends, and each minute before. */
  readonly rtt: TimeStats;
  /**
   * Round trips to the targets, of TCP and pings: one for each flow when it ends, and each minute before.
   * Of TCP none over Deno's sockets, which do not tell.
   */
  readonly targetRtt: TimeStats;
  /** Bytes per second. */
  readonly rate: RateStats;
}

class Times {
  count = 0;
  sum = 0;
  max = 0;

  observe(ms: number): void {
    this.count++;
    this.sum += ms;
    if (ms > this.max) this.max = ms;
  }

  add({ count, sum, max }: Times): void {
    this.count += count;
    this.sum += sum;
    this.max = Math.max(this.max, max);
  }

  stats(): TimeStats {
    const { count, sum, max } = this;
    return count === 0
      ? { count, meanMs: null, maxMs: null }
      : { count, meanMs: rounded(sum / count), maxMs: rounded(max) };
  }
}

/** Whole microseconds. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

export class Totals {
  flows = 0;
  live = 0;
  refused = 0;
  bytesUp = 0;
  bytesDown = 0;
  packetsUp = 0;
  packetsDown = 0;
  retransmits = 0;
  outOfOrder = 0;
  readonly dial: Times = new Times();
  readonly rtt: Times = new Times();
  readonly targetRtt: Times = new Times();
  /** From the first byte on. */
  rates: Rates | undefined = undefined;
  /** Whether its rates are sampled: something moves, or did a moment ago. */
  isMoving = false;

  /** Takes over what another has counted. */
  add(other: Totals): void {
    this.flows += other.flows;
    this.live += other.live;
    this.refused += other.refused;
    this.bytesUp += other.bytesUp;
    this.bytesDown += other.bytesDown;
    this.packetsUp += other.packetsUp;
    this.packetsDown += other.packetsDown;
    this.retransmits += other.retransmits;
    this.outOfOrder += other.outOfOrder;
    this.dial.add(other.dial);
    this.rtt.add(other.rtt);
    this.targetRtt.add(other.targetRtt);
  }

  stats(now: number): TotalsStats {
    return {
      flows: this.flows,
      live: this.live,
      refused: this.refused,
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
      packetsUp: this.packetsUp,
      packetsDown: this.packetsDown,
      retransmits: this.retransmits,
      outOfOrder: this.outOfOrder,
      dial: this.dial.stats(),
      rtt: this.rtt.stats(),
      targetRtt: this.targetRtt.stats(),
      rate: this.rates?.stats(now) ?? NO_RATES,
    };
  }
}
