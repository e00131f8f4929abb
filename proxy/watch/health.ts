/**
 * Whether a gateway lives, and whether it can be used.
 *
 * @module
 */

import type { Peer } from "../../wireguard/mod.ts";
import { peerName } from "../gateway/peer_name.ts";

/** An answer to a probe. */
export interface Health {
  readonly ok: boolean;
  /** In words, for people. */
  readonly reason: string;
  readonly [figure: string]: unknown;
}

/** With a delay of more a peer notices: handshakes and connections wait. */
const MAX_DELAY_MS = 1_000;

/** How many peers an answer names. */
const NAMED = 10;

/**
 * A session's keys are no longer used 180 s after its handshake (whitepaper §6.1, REJECT_AFTER_TIME).
 * A peer that is sent keepalives makes new ones before that.
 */
const FRESH_MS = 180_000;

/** @param delayMs How late the event loop is. */
export function livenessOf(delayMs: number): Health {
  const figures = { loopDelayMs: Math.round(delayMs * 10) / 10 };
  return delayMs <= MAX_DELAY_MS
    ? { ok: true, reason: "the event loop turns", ...figures }
    : { ok: false, reason: `the event loop is ${Math.round(delayMs)} ms late`, ...figures };
}

/** What readiness is judged by. */
export interface Readiness {
  /** 0 while it does not listen. */
  readonly port: number;
  readonly peers: Iterable<
    Pick<Peer, "persistentKeepalive" | "lastHandshake" | "name" | "publicKey">
  >;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: number;
}

/**
 * Ready: it listens, and every peer that is sent keepalives has had a handshake lately. The others
 * speak when they like.
 */
export function readinessOf({ port, peers, wallClock }: Readiness): Health {
  if (port === 0) return { ok: false, reason: "does not listen", listenPort: null };
  const stale: string[] = [];
  let kept = 0;
  let count = 0;
  for (const peer of peers) {
    if (peer.persistentKeepalive === 0) continue;
    kept++;
    if (wallClock - peer.lastHandshake <= FRESH_MS) continue;
    if (count++ < NAMED) stale.push(peerName(peer as Peer));
  }
  const figures = { listenPort: port, peersWithKeepalive: kept, peersWithoutHandshake: count };
  if (count === 0) return { ok: true, reason: "listens, and has its handshakes", ...figures };
  const more = count > stale.length ? ` and ${count - stale.length} more` : "";
  return {
    ok: false,
    reason: `no handshake in ${FRESH_MS / 1000} s with ${stale.join(", ")}${more}`,
    ...figures,
  };
}
