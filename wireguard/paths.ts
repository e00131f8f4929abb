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
   * nothing has been heard yet, an initiation, a persistent keepalive, or somebody's question in its
   * place.
   *
   * @param isKeepalive Whether it is one of the last two, whose answer, if any, says nothing here.
   */
  trafficBegan(isKeepalive: boolean, now: number): void;

  /**
   * Something authentic came from elsewhere than the peer's endpoint.
   *
   * @param moves Whether it tells where the peer is: no probe, and nothing that was overtaken.
   * @returns whether the peer moves there; one that does not move stays in any case.
   */
  heardElsewhere(from: Sender, moves: boolean, now: number): boolean;

  /** A handshake of ours was answered from there: packets pass both ways. */
  handshakeAnswered(from: Sender, now: number): void;

  /** A probe was answered from there. @param id As it was given to `Peer.probe`. */
  probeAnswered(from: Sender, id: number, now: number): void;
}
