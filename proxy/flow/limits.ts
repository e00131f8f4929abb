/**
 * The limits of a peer or of a rule, as long as it lives: what its flows share.
 *
 * @module
 */

import type { Bucket, BucketRate } from "./bucket.ts";

/** `up` is towards the targets, or from a peer to others; `down` towards the peer. */
export type Direction = "up" | "down";

/** Of a rule's rate, seconds: what may be saved up. */
export const RULE_BURST_S = 0.2;

/** The rates of a peer or a rule. Missing: no limit. */
export interface Rates {
  /** Towards the targets. */
  readonly up?: BucketRate | undefined;
  /** Towards the peer. */
  readonly down?: BucketRate | undefined;
}

/** The limits of a peer. Missing: no limit but those for all peers. */
export interface OwnerLimits extends Rates {
  readonly maxTcpConnections?: number | undefined;
  readonly maxUdpSessions?: number | undefined;
}

/** What the flows of a peer or a rule share; undefined without a limit. */
export class SharedRates {
  up: Bucket | undefined = undefined;
  down: Bucket | undefined = undefined;

  get isLimited(): boolean {
    return this.up !== undefined || this.down !== undefined;
  }
}
