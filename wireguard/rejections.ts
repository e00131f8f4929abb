/**
 * Failed handshakes, for the log: without them a wrong key in a configuration is hard to find. They
 * cost the sender nothing, so only a few per second are reported.
 *
 * @module
 */

import type { Endpoint, Sender } from "./endpoint.ts";
import { TokenBucket } from "./token_bucket.ts";

const PER_SECOND = 1;
const BURST = 5;

/** Why a handshake message with a valid mac1 came to nothing. */
export type RejectionReason =
  /** The initiation is not for this device's key, or damaged. */
  | "bad-initiation"
  /** The initiator's key is no peer's. */
  | "unknown-key"
  /** The initiator does not own the peer's key it claims. */
  | "forged-initiation"
  /** A replay; or the peer's clock was set back while it restarted. */
  | "old-timestamp"
  /** The connection it came by is another peer's alone, see `Sender.only`. */
  | "other-speaker"
  /** More than 50 initiations per second of one peer. */
  | "flood"
  /** The answer to our initiation does not authenticate: the preshared keys differ, most likely. */
  | "bad-response";

export interface Rejection<Peer> {
  readonly type: "handshake-rejected";
  readonly reason: RejectionReason;
  readonly from: Endpoint;
  /** Whose message it was, or claimed to be; undefined if that is no peer. */
  readonly peer: Peer | undefined;
  /** Of an unknown initiator, 32 bytes: claimed and not proven. */
  readonly publicKey: Uint8Array | undefined;
  /** Rejections since the last one reported. */
  readonly suppressed: number;
}

/** One per device. */
export class Rejections<Peer> {
  readonly #tell: ((rejection: Rejection<Peer>) => void) | undefined;
  readonly #bucket = new TokenBucket(PER_SECOND, BURST);
  #suppressed = 0;

  /** @param tell Called with what is reported; undefined if nobody listens. */
  constructor(tell: ((rejection: Rejection<Peer>) => void) | undefined) {
    this.#tell = tell;
  }

  report(
    reason: RejectionReason,
    from: Sender,
    peer: Peer | undefined,
    publicKey: Uint8Array | undefined,
    now: number,
  ): void {
    if (this.#tell === undefined) return;
    if (!this.#bucket.take(now)) {
      this.#suppressed++;
      return;
    }
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    this.#tell({
      type: "handshake-rejected",
      reason,
      from: from.toEndpoint(),
      peer,
      publicKey,
      suppressed,
    });
  }
}
