/**
 * Peers that this gateway calls and that call back, as an agent's hub does: whether they still know it.
 * One that was restarted elsewhere, or without its memory, has no session and no place to send to, and
 * WireGuard finds that out after two minutes. So where a keepalive would go to somebody who says
 * nothing, a probe goes that is answered, and a handshake when it is not.
 *
 * @module
 */

import type { TimeoutSource } from "../engine/engine.ts";
import type { Peer } from "../../wireguard/mod.ts";

/** Between questions, and how many without an answer mean that nobody knows this side any more. */
const AGAIN_MS = 1_000;
const QUESTIONS = 4;
/** How much before a keepalive would go. */
const AHEAD_MS = 200;
/** Handshakes are retried by WireGuard for 90 s. */
const CALL_AGAIN_MS = 60_000;
/** Between looks at one that there is no session with: that is WireGuard's. */
const IDLE_MS = 10_000;

interface Watched {
  dueAt: number;
  questions: number;
  /** The handshake under which it was last asked. */
  askedUnder: number;
}

/** Sans-IO; times are ms. */
export class Callers implements TimeoutSource {
  readonly #watched = new Map<Peer, Watched>();
  #dueAt = Infinity;
  #id = 0;

  /** @param isCalled Whether it is to be called. Again for each change. */
  watch(peer: Peer, isCalled: boolean, now: number): void {
    if (!isCalled) {
      this.#watched.delete(peer);
      return;
    }
    if (this.#watched.has(peer)) return;
    this.#watched.set(peer, { dueAt: now, questions: 0, askedUnder: 0 });
    this.#dueAt = Math.min(this.#dueAt, now);
  }

  pollTimeout(): number {
    return this.#watched.size === 0 ? Infinity : this.#dueAt;
  }

  handleTimeout(now: number): void {
    if (now < this.#dueAt) return;
    let next = Infinity;
    for (const [peer, watched] of this.#watched) {
      if (now >= watched.dueAt) watched.dueAt = this.#look(peer, watched, now);
      next = Math.min(next, watched.dueAt);
    }
    this.#dueAt = next;
  }

  /** @returns when to look again. */
  #look(peer: Peer, watched: Watched, now: number): number {
    // Whoever shares a prefix with others is asked for that.
    if (peer.endpoint === undefined || !peer.maySend(now) || peer.isTwin) return now + IDLE_MS;
    const quietUntil = peer.lastHeard + peer.persistentKeepalive * 1000 - AHEAD_MS;
    if (now < quietUntil) {
      watched.questions = 0;
      return quietUntil;
    }
    const isMute = peer.probesAnswered === 0;
    if (watched.questions >= QUESTIONS) {
      watched.questions = 0;
      if (!isMute) peer.initiate(now);
      return now + CALL_AGAIN_MS;
    }
    // Another implementation drops it and may count it: once in a session it is tried.
    if (isMute && watched.questions === 0) {
      if (watched.askedUnder === peer.lastHandshake) return now + IDLE_MS;
      watched.askedUnder = peer.lastHandshake;
    }
    if (!isMute || watched.questions === 0) {
      this.#id = this.#id + 1 >>> 0;
      // It claims, as a keepalive does, whose place it takes: a NAT may have moved this side.
      peer.probe(peer.endpoint, this.#id, true, now);
    }
    watched.questions++;
    return now + AGAIN_MS;
  }
}
