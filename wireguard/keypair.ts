/**
 * One session: a key for each direction, counters, the replay window (whitepaper §5.4.5, §5.4.6).
 *
 * @module
 */

import type { AeadKey } from "./crypto.ts";
import { ReplayFilter } from "./replay.ts";

/** REKEY_AFTER_MESSAGES = 2^60; the lower half is zero. */
const REKEY_AFTER_MESSAGES_HIGH = 0x1000_0000;

/** REJECT_AFTER_MESSAGES = 2^64 − 2^13 − 1 */
const REJECT_AFTER_MESSAGES_HIGH = 0xffff_ffff;
const REJECT_AFTER_MESSAGES_LOW = 0xffff_dfff;

/** Whether a counter is at or above REJECT_AFTER_MESSAGES: never sent, never accepted. */
export function isRejectedCounter(high: number, low: number): boolean {
  return high === REJECT_AFTER_MESSAGES_HIGH && low >= REJECT_AFTER_MESSAGES_LOW;
}

/** @typeParam Peer Whose it is. */
export class Keypair<Peer> {
  readonly replay = new ReplayFilter();
  /** The counter of the next packet, as two unsigned halves. */
  sendHigh = 0;
  sendLow = 0;
  /** Cleared when this key may encrypt no more, for a reason other than its age. */
  sendable = true;

  /**
   * @param localIndex What the peer puts into its packets. Signed, see `IndexTable`.
   * @param remoteIndex What this side puts into its own.
   * @param created ms, monotonic.
   */
  constructor(
    readonly peer: Peer,
    readonly isInitiator: boolean,
    readonly localIndex: number,
    readonly remoteIndex: number,
    readonly send: AeadKey,
    readonly receive: AeadKey,
    readonly created: number,
  ) {}

  /** Whether a packet may be sealed with this key now. */
  maySend(now: number, rejectAfterMs: number): boolean {
    return this.sendable && now < this.created + rejectAfterMs &&
      !isRejectedCounter(this.sendHigh, this.sendLow);
  }

  /** Moves on to the next counter. A nonce is never used twice: see {@link maySend} for the end. */
  advance(): void {
    if (this.sendLow === 0xffff_ffff) {
      this.sendLow = 0;
      this.sendHigh++;
    } else {
      this.sendLow++;
    }
  }

  /** Whether more than REKEY_AFTER_MESSAGES were sent. */
  get isWornOut(): boolean {
    return this.sendHigh > REKEY_AFTER_MESSAGES_HIGH ||
      (this.sendHigh === REKEY_AFTER_MESSAGES_HIGH && this.sendLow > 0);
  }

  destroy(): void {
    this.sendable = false;
    this.send.destroy();
    this.receive.destroy();
  }
}
