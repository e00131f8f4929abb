/**
 * What the owner of a peer is told that can be reached by more than one path, and decides for it. A
 * peer without such an owner roams as the whitepaper says (§2.1).
 *
 * @module
 */

import type { Sender } from "./endpoint.ts";

/** Called while a datagram is handled: nothing may be sent from within, `Peer.setEndpoint` is allowed. */
export interface PeerPaths {
  /**
   * Once after `Peer.awaitTraffic`: something was sent that should be answered. Data after which
   * nothing has been heard yet, an initiation, or a persistent keepalive.
   */
  trafficBegan(now: number): void;

  /**
   * Something authentic came from elsewhere than the peer's endpoint.
   *
   * @returns whether the peer moves there, if this datagram is one that moves peers.
   */
  heardElsewhere(from: Sender, now: number): boolean;

  /** A handshake of ours was answered from there: packets pass both ways. */
  handshakeAnswered(from: Sender, now: number): void;

  /** A probe was answered from there. @param id As it was given to `Peer.probe`. */
  probeAnswered(from: Sender, id: number, now: number): void;
}
