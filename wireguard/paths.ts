/**
 * What is reported about a peer that can be reached by more than one path, to whoever chooses the path
 * for it. A peer without this roams as the whitepaper says (§2.1).
 *
 * @module
 */

import type { Sender } from "./endpoint.ts";

/** Called while a datagram is handled: nothing may be sent from within, `Peer.setEndpoint` is allowed. */
export interface PeerPaths {
  /**
   * Called once after `Peer.awaitTraffic`: something was sent that should be answered. That is data with
   * nothing heard since, an initiation, a persistent keepalive, or a question that somebody sends in its
   * place.
   *
   * @param isKeepalive Whether it is one of the last two, whose answer, if any, says nothing here.
   */
  trafficBegan(isKeepalive: boolean, now: number): void;

  /**
   * Something authentic came from elsewhere than the peer's endpoint.
   *
   * @param moves Whether it shows where the peer is now: a probe, or an overtaken packet, does not.
   * @returns whether the peer moves there. Without `moves` it stays in any case.
   */
  heardElsewhere(from: Sender, moves: boolean, now: number): boolean;

  /** A handshake of ours was answered from there: packets pass both ways. */
  handshakeAnswered(from: Sender, now: number): void;

  /** A probe was answered from there. @param id As it was given to `Peer.probe`. */
  probeAnswered(from: Sender, id: number, now: number): void;
}
