/**
 * Log lines of rejected handshakes and packets: what one looks for after setting up a peer that
 * gets no connection.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Peer, Rejection, RejectionReason } from "../../wireguard/mod.ts";
import { encodeKey } from "../base64.ts";
import { getLogger } from "../log/logger.ts";
import { ThinnedLines } from "../log/thinning.ts";
import { peerName } from "./peer_name.ts";

const log = getLogger(["wirestack", "engine"]);

const EXPLANATIONS: Record<RejectionReason, string> = {
  "bad-initiation": "it does not decrypt with this gateway's private key",
  "unknown-key": "its public key is no peer's",
  "forged-initiation": "its sender does not have the private key of that peer",
  "old-timestamp": "it is a replay, or the peer's clock was set back",
  "other-speaker": "it came with an invitation, by which nobody but the invited machine comes in",
  "flood": "more than 50 per second",
  "bad-response": "its answer does not authenticate: the preshared keys may differ",
};

/** A peer that is set up wrongly has every handshake of its refused for the same reason, ms. */
const REJECTION_EVERY_MS = 60_000;

/** Logs handshakes that are refused: of each peer, for each reason, one a minute. */
export class RejectionLog {
  readonly #lines = new Map<RejectionReason, ThinnedLines<Peer>>();
  /** What the device did not report before events that were not logged either. */
  #unreported = 0;

  /** The device reports a few per second at most. An unknown key is logged at debug level only. */
  rejected(event: Rejection, now: number): void {
    const { reason, peer, publicKey } = event;
    const repeated = peer === undefined ? 0 : this.#linesFor(reason).next(peer, now);
    this.#unreported += event.suppressed;
    if (repeated === undefined) return;
    const suppressed = this.#unreported + repeated;
    this.#unreported = 0;
    const properties = {
      from: `${event.from}`,
      reason: EXPLANATIONS[reason],
      ...(peer !== undefined && { peer: peerName(peer) }),
      ...(suppressed > 0 && { suppressed }),
    };
    const text = suppressed > 0 ? " ({suppressed} more went unlogged before)" : "";
    if (peer === undefined) {
      log.info(`a handshake from {from} refused: {reason}${text}`, properties);
    } else log.warn(`peer {peer}: a handshake from {from} refused: {reason}${text}`, properties);
    if (publicKey !== undefined) {
      log.debug("the handshake from {from} claimed the key {publicKey}", {
        from: properties.from,
        publicKey: encodeKey(publicKey),
      });
    }
  }

  #linesFor(reason: RejectionReason): ThinnedLines<Peer> {
    let lines = this.#lines.get(reason);
    if (lines === undefined) this.#lines.set(reason, lines = new ThinnedLines(REJECTION_EVERY_MS));
    return lines;
  }
}

/** Reported by the device at most once a minute. */
export function logUnconfirmed(peer: Peer, answers: number): void {
  log.warn(
    "peer {peer}: {answers} answers to its handshakes were not confirmed by {endpoint}: " +
      "the preshared keys differ, most likely, or our answers do not arrive, or another replica's " +
      "come first",
    { peer: peerName(peer), answers, endpoint: `${peer.endpoint}` },
  );
}

/**
 * A packet from an address that is not the peer's. Reported by the device at most once a minute.
 *
 * @param address 4 or 16 bytes.
 * @param suppressed Such packets since the last event.
 */
export function logForeignSource(peer: Peer, address: Uint8Array, suppressed: number): void {
  const more = suppressed > 0 ? " ({suppressed} more went unlogged before)" : "";
  log.warn(`peer {peer}: a packet from {address} dropped, not in its AllowedIPs${more}`, {
    peer: peerName(peer),
    address: `${new IpAddress(address)}`,
    ...(suppressed > 0 && { suppressed }),
  });
}

/** Logs where peers are. A peer heard from two addresses at once moves with every datagram. */
export class MoveLog {
  readonly #lines = new ThinnedLines<Peer>();

  /** Logs it, unless that was done for this peer within the last second. */
  moved(peer: Peer, now: number): void {
    const suppressed = this.#lines.next(peer, now);
    if (suppressed === undefined) return;
    const more = suppressed > 0 ? " ({suppressed} moves went unlogged before)" : "";
    log.info(`peer {peer}: now at {endpoint}${more}`, {
      peer: peerName(peer),
      endpoint: `${peer.endpoint}`,
      ...(suppressed > 0 && { suppressed }),
    });
  }
}
