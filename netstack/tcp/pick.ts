/**
 * What a sender sends next: a retransmission, new data, a probe, or nothing.
 *
 * @module
 */

import { DUP_THRESH } from "./rack.ts";
import { armTailProbe } from "./recovery.ts";
import { OPEN, type Sender } from "./sender.ts";
import { distance } from "./sequence.ts";

/**
 * Chooses the next segment; the choice is in the pick* fields until {@link sent}.
 *
 * @returns Whether there is one that may go now.
 */
export function pick(s: Sender, now: number): boolean {
  if (s.tail && pickTail(s)) return true;
  const lost = s.board.nextLost();
  if (lost >= 0) return pickLost(s, lost);
  if (s.finSent) return false;
  const unsent = s.unsent;
  if (unsent === 0 && !s.finQueued) return false;
  const flight = s.inFlight;
  if (flight === 0) restartAfterIdle(s, now);
  const usable = Math.max(0, distance(s.una, s.nxt) + s.peer.size);
  const most = s.sizeProbe.size > 0 ? probeSize(s, Math.min(unsent, usable)) : s.mss;
  let length = Math.min(unsent, most, usable);
  let fin = s.finQueued && length === unsent && usable > length;
  if (s.probe && flight === 0) {
    if (length === 0) {
      // One unit of new data, though the window is closed.
      if (unsent > 0) length = 1;
      else fin = true;
    }
  } else {
    if (length === 0 && !fin) return false;
    if (s.congestion.window - s.pipe() < length && flight > 0) return false;
    if (length < s.mss && !fin && !worthSending(s, length, unsent, flight)) return false;
  }
  s.pickIndex = -1;
  s.pickSequence = s.nxt;
  s.pickLength = length;
  s.pickFin = fin;
  return true;
}

/** What {@link pick} chose has been sent. */
export function sent(s: Sender, now: number): void {
  const size = s.pickLength + (s.pickFin ? 1 : 0);
  const board = s.board;
  if (s.pickIndex < 0) {
    // RFC 6298 §5.1; a running persist timer becomes the retransmission timer.
    if (board.count === 0) {
      if (s.waitingSince === Infinity) s.waitingSince = now;
      s.timer = s.due(now);
    }
    s.nxt = (s.nxt + size) | 0;
    s.flightAtSend = s.inFlight;
    board.push(s.nxt, s.pickFin, now);
    if (s.pickFin) s.finSent = true;
  } else {
    // RFC 3522 §3.2 judges the first retransmission of the segment at SND.UNA; what follows a
    // repair in progress would be judged by the answers to that.
    if (s.firstRetransmission < 0 && s.state !== OPEN) {
      const fresh = s.pickIndex === 0 && !board.wasRetransmitted(0);
      s.firstRetransmission = fresh ? now : Infinity;
    }
    board.resent(s.pickIndex, now);
    s.retransmits++;
    s.unproven++;
    if (s.pickIndex === 0) {
      // RFC 6675 §5 step 4.3: the retransmission gets a whole RTO to be answered.
      s.timer = s.due(now);
    }
  }
  if (s.pickLength > s.mss) s.sizeProbe.sent((s.pickSequence + s.pickLength) | 0);
  s.forced = false;
  s.probe = false;
  if (s.tail) {
    s.tail = false;
    s.tailProbe.sent(s.nxt, s.pickIndex >= 0);
  } else if (s.pickIndex < 0) armTailProbe(s, now);
  s.reduction.sent(size);
  s.lastSent = now;
}

function pickLost(s: Sender, index: number): boolean {
  const board = s.board;
  const start = board.start(index);
  let fin = board.hasFin(index);
  let length = distance(board.end(index), start) - (fin ? 1 : 0);
  const { sizeProbe } = s;
  if (length > s.mss && !canProbe(s, length)) {
    if (sizeProbe.isSent && sizeProbe.end === ((start + length) | 0)) sizeProbe.isLost = true;
    board.split(index, s.mss);
    length = s.mss;
    fin = false;
  }
  if (!s.forced) {
    if (s.peer.size === 0 || s.congestion.window - s.pipe() < length) return false;
  }
  s.pickIndex = index;
  s.pickSequence = start;
  s.pickLength = length;
  s.pickFin = fin;
  return true;
}

/** Whether a lost segment may go whole, as the probe: RACK would notice that it is lost again. */
function canProbe(s: Sender, length: number): boolean {
  return length === s.sizeProbe.size && s.sack && s.settings.rack &&
    s.congestion.window - s.pipe() >= length;
}

/** Payload of the next segment: a probe only before others that would show its loss. */
function probeSize(s: Sender, available: number): number {
  const { size } = s.sizeProbe;
  return s.state === OPEN && available >= size + DUP_THRESH * s.mss ? size : s.mss;
}

/** RFC 8985 §7.3: new data if there is any that may go, else the last segment once more. */
function pickTail(s: Sender): boolean {
  const board = s.board;
  const late = board.count === 0 || board.sackedBytes > 0 || s.state !== OPEN;
  if (late || s.peer.size === 0) {
    s.tail = false;
    return false;
  }
  const usable = distance(s.una, s.nxt) + s.peer.size;
  const length = Math.min(s.unsent, s.mss);
  if (length > 0 && length <= usable) {
    s.pickIndex = -1;
    s.pickSequence = s.nxt;
    s.pickLength = length;
    s.pickFin = s.finQueued && length === s.unsent && usable > length;
    return true;
  }
  let last = board.count - 1;
  const fin = board.hasFin(last);
  const excess = distance(board.end(last), board.start(last)) - (fin ? 1 : 0) - s.mss;
  if (excess > 0) {
    s.sizeProbe.isLost = true;
    board.split(last++, excess);
  }
  s.pickIndex = last;
  s.pickSequence = board.start(last);
  s.pickLength = distance(board.end(last), board.start(last)) - (fin ? 1 : 0);
  s.pickFin = fin;
  return true;
}

/** Whether less than a full segment should go (RFC 9293 §3.8.6.2.1, Nagle: §3.7.4). */
function worthSending(s: Sender, length: number, unsent: number, flight: number): boolean {
  if (length === unsent) return s.noDelay || flight === 0 || s.finQueued;
  // It fills the window. Worth it if the window is hardly ever larger than that.
  return flight === 0 ? 2 * length >= s.peer.largest : s.noDelay && 4 * length >= s.peer.largest;
}

function restartAfterIdle(s: Sender, now: number): void {
  if (s.lastSent === 0 || now - s.lastSent <= s.rto.current) return;
  s.congestion.idle();
  s.lastSent = now;
}
