/**
 * What WireGuard's device tells: counted, said in the log, and passed on to who has to do with it.
 *
 * @module
 */

import type { DeviceEvent } from "../../wireguard/mod.ts";
import type { Engine } from "../engine/engine.ts";
import { getLogger } from "../log/logger.ts";
import type { Enrolment } from "./enrolment/enrolment.ts";
import { logForeignSource, logUnconfirmed, MoveLog, RejectionLog } from "./handshake_log.ts";
import { peerName } from "./peer_name.ts";
import type { TunnelPeers } from "./peers.ts";

const log = getLogger(["wirestack", "engine"]);

/** Handshakes: complete, given up without an answer, and those of others that were refused. */
export interface HandshakeTotals {
  complete: number;
  unanswered: number;
  rejected: number;
}

/** What it is of a gateway that events are about. */
export interface EventfulGateway {
  readonly engine: Engine;
  readonly peers: TunnelPeers;
  readonly enrolment: Enrolment | undefined;
}

export class DeviceEvents {
  readonly handshakes: HandshakeTotals = { complete: 0, unanswered: 0, rejected: 0 };
  readonly #gateway: EventfulGateway;
  readonly #moves = new MoveLog();
  readonly #rejections = new RejectionLog();

  constructor(gateway: EventfulGateway) {
    this.#gateway = gateway;
  }

  handle(event: DeviceEvent): void {
    if (event.type === "handshake-rejected") {
      this.handshakes.rejected += 1 + event.suppressed;
      this.#rejections.rejected(event, this.#gateway.engine.now());
      return;
    }
    const { type, peer } = event;
    const { peers, enrolment, engine } = this.#gateway;
    const properties = { peer: peerName(peer), endpoint: `${peer.endpoint}` };
    switch (type) {
      case "handshake-complete":
        this.handshakes.complete++;
        log.info("peer {peer}: handshake complete with {endpoint}", {
          ...properties,
          initiator: event.initiator,
        });
        peers.handshakeComplete(peer);
        enrolment?.handshakeComplete(peer);
        break;
      case "handshake-retry":
        log.debug("peer {peer}: no answer from {endpoint}, attempt {attempt}", {
          ...properties,
          attempt: event.attempt,
        });
        peers.handshakeUnanswered(peer, event.attempt);
        break;
      case "handshake-failed":
        this.handshakes.unanswered++;
        // A machine that has joined is at its token's place no more.
        if (enrolment?.isToken(peer) === true) break;
        log.warn("peer {peer}: no answer from {endpoint}, given up for now", properties);
        peers.handshakeUnanswered(peer, Infinity);
        break;
      case "endpoint-changed":
        if (!peers.moved(peer)) this.#moves.moved(peer, engine.now());
        break;
      case "handshake-unconfirmed":
        logUnconfirmed(peer, event.answers);
        break;
      case "source-rejected":
        logForeignSource(peer, event.address, event.suppressed);
        break;
      case "session-expired":
        log.debug("peer {peer}: keys wiped", properties);
    }
  }
}
