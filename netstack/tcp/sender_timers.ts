/**
 * The timers of a sender: retransmission and persist (RFC 6298, RFC 9293 §3.8.6.1), RACK's and the
 * tail loss probe's (RFC 8985).
 *
 * @module
 */

import {
  armTailProbe,
  beginRepair,
  detectLosses,
  reorderingWindow,
  startRecovery,
} from "./recovery.ts";
import { LOSS, OPEN, type Sender } from "./sender.ts";

/**
 * A deadline has passed. Only marks what to send.
 *
 * @returns False if the peer has been silent for too long.
 */
export function handleSenderTimers(s: Sender, now: number): boolean {
  if (s.reorderingTimer <= now) {
    detectLosses(s, now);
    if (s.state === OPEN && s.board.lostBytes > 0) startRecovery(s, s.inFlight, 0);
  }
  if (s.tailProbe.timer <= now) {
    s.tailProbe.timer = Infinity;
    s.tail = true;
    // RFC 8985 §7.3: the probe gets a whole RTO to be answered.
    s.timer = s.due(now);
  }
  if (s.timer > now) return true;
  s.retries++;
  if (isHopeless(s, now)) return false;
  s.rto.backOff();
  s.timer = s.due(now);
  s.forced = true;
  if (s.board.count === 0) {
    // Persist (RFC 9293 §3.8.6.1), or the override of RFC 9293 §3.8.6.2.1.
    s.probe = true;
    s.probing = s.peer.size === 0;
    return true;
  }
  if (s.peer.size === 0) {
    // Not congestion: the peer would not take it.
    s.probing = true;
    s.board.loseFirst();
    return true;
  }
  // RFC 6298 §5.4-5.6, RFC 5681 §3.1.
  s.timeouts++;
  s.searching = false;
  const first = s.state !== LOSS || s.retries === 1;
  s.congestion.timedOut(s.inFlight, first, now);
  if (s.sack && s.settings.rack) {
    s.board.markLostByTimeout(reorderingWindow(s), now);
  } else s.board.loseAll();
  beginRepair(s, LOSS);
  s.duplicateAcks = 0;
  s.reorderingTimer = Infinity;
  return true;
}

/** An acknowledgment was taken that covers `advanced` bytes more. */
export function restartTimers(s: Sender, advanced: number, now: number): void {
  if (s.board.count === 0) {
    // settle() starts the persist timer if it is needed. One that runs goes on: a peer that only
    // says again what it has said (it answers keepalives) must not put it off for ever.
    if (advanced > 0) s.timer = Infinity;
    s.reorderingTimer = Infinity;
    s.tailProbe.cancel();
    return;
  }
  const due = s.due(now);
  // RFC 6298 §5.3, and never longer than the estimate of now.
  if (advanced > 0 || s.timer > due) s.timer = due;
  if (advanced > 0 || s.board.sackedBytes > 0) armTailProbe(s, now);
}

/** The timer has expired: has it waited long enough? */
function isHopeless(s: Sender, now: number): boolean {
  const { maxRetries, orphanRetries } = s.settings;
  if (s.orphaned && s.retries > orphanRetries) return true;
  if (s.userTimeout > 0) return now - s.waitingSince >= s.userTimeout;
  return s.retries > maxRetries;
}
