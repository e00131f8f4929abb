/**
 * Loss recovery: when it begins, how the window shrinks, and when it was not needed (RFC 6675,
 * RFC 8985, RFC 3522, RFC 3708).
 *
 * @module
 */

import { DUP_THRESH } from "./rack.ts";
import type { Segment } from "./header.ts";
import { LOSS, OPEN, RECOVERY, type Sender } from "./sender.ts";
import { before } from "./sequence.ts";

export function repair(
  s: Sender,
  flight: number,
  advanced: number,
  echoDelay: number,
  reported: boolean,
  now: number,
): void {
  const board = s.board;
  const stateBefore = s.state;
  if (reported) duplicateReported(s);
  if (s.state !== OPEN) {
    if (advanced > 0 && wasSpurious(s, echoDelay, now)) undoRepair(s);
    else if (!before(s.una, s.recoveryPoint)) endRecovery(s, now);
  }
  if (s.sack) {
    if (s.settings.rack) detectLosses(s, now);
    else board.markLost(s.mss);
  } else if (s.state === RECOVERY) {
    // RFC 6582 §3.2 step 3: a partial acknowledgment names the next loss.
    if (advanced > 0) board.loseFirst();
  } else if (s.duplicateAcks >= DUP_THRESH && mayRecover(s)) board.loseFirst();

  if (s.state === OPEN && board.lostBytes > 0) startRecovery(s, flight, board.delivered);
  if (s.state === RECOVERY) reduceInStep(s, advanced);
  else if (advanced > 0 && stateBefore !== RECOVERY && s.windowWasLimit) {
    // What was SACKed before has left the network before (RFC 3465 §2.3 guards against that).
    const delivered = Math.min(advanced, board.delivered);
    s.congestion.acknowledged(delivered, s.rto, s.una, s.nxt, now);
  }
}

/** RFC 6582 §3.2 step 2: duplicates caused by our own retransmissions are no new loss. */
function mayRecover(s: Sender): boolean {
  return s.state === OPEN && !before(s.una, s.recoveryPoint);
}

/** Loss was found, which was congestion. */
export function congested(s: Sender, flight: number): void {
  const { congestion, ensemble } = s;
  const share = s.searching && s.windowWasLimit ? ensemble?.share ?? 0 : 0;
  s.searching = false;
  if (share > 0) congestion.lost(share, share);
  else congestion.lost(flight);
}

/**
 * RFC 6675 §5 step 4.
 *
 * @param delivered Bytes that the ACK which tells of the loss newly told of.
 */
export function startRecovery(s: Sender, flight: number, delivered: number): void {
  congested(s, flight);
  // RFC 9937 §6.1: what was SACKed before will not be delivered in this recovery.
  s.reduction.start(s.inFlight - s.board.sackedBytes + delivered);
  beginRepair(s, RECOVERY);
  s.forced = true;
}

/** A repair begins for which the window was reduced. */
export function beginRepair(s: Sender, state: number): void {
  s.state = state;
  s.recoveryPoint = s.nxt;
  s.firstRetransmission = -1;
  s.unproven = s.board.hasRetransmitted ? Infinity : 0;
  s.undoable = true;
  s.byRack = state === RECOVERY;
  s.tailProbe.cancel();
  s.tail = false;
}

/** D-SACK: a retransmission was needless. If all were, so was the reduction (RFC 3708 §3). */
function duplicateReported(s: Sender): void {
  const { rack } = s.board;
  // Timeouts and probes are guesses anyway: what they repeat in vain says nothing of reordering.
  if (s.byRack && rack.reorderingSeen && !s.tailProbe.pending) {
    rack.duplicateReported(s.una, s.nxt);
  }
  if (s.undoable && --s.unproven === 0) undoRepair(s);
}

/** RFC 8985 §6.2 step 5. */
export function detectLosses(s: Sender, now: number): void {
  s.reorderingTimer = s.board.markLostByTime(reorderingWindow(s), now);
}

export function reorderingWindow(s: Sender): number {
  const { rack, sacked } = s.board;
  return rack.window(s.state !== OPEN, sacked, s.rto.minimum, s.rto.smoothed);
}

export function tailProbeAnswered(
  s: Sender,
  segment: Segment,
  advanced: number,
  reported: boolean,
): boolean {
  const { acknowledgment, sackCount, span } = segment;
  const duplicate = advanced === 0 && span === 0;
  return s.tailProbe.acknowledged(acknowledgment, duplicate, reported, sackCount);
}

/** RFC 8985 §7.2 */
export function armTailProbe(s: Sender, now: number): void {
  const { board, tailProbe } = s;
  const wanted = s.sack && s.settings.rack && s.state === OPEN && !tailProbe.pending &&
    board.sackedBytes === 0;
  if (wanted) tailProbe.arm(s.rto.smoothed, board.count === 1, s.timer, now);
  else tailProbe.timer = Infinity;
}

function reduceInStep(s: Sender, advanced: number): void {
  const delivered = s.sack ? s.board.delivered : advanced > 0 ? advanced : s.mss;
  if (delivered === 0) return;
  const { threshold } = s.congestion;
  const safe = advanced > 0 && !s.board.lossFound;
  const window = s.reduction.window(delivered, s.pipe(), threshold, s.mss, safe);
  s.congestion.setWindow(window);
}

/** RFC 3522 §3.2: the ACK answers the original, which therefore was not lost. */
function wasSpurious(s: Sender, echoDelay: number, now: number): boolean {
  if (echoDelay < 0 || s.firstRetransmission < 0) return false;
  const first = s.firstRetransmission;
  s.firstRetransmission = Infinity;
  // The timestamp clock ticks in whole milliseconds.
  return first !== Infinity && Math.floor(now) - echoDelay < Math.floor(first);
}

function undoRepair(s: Sender): void {
  s.spurious++;
  // The original was late, not lost.
  if (s.state === RECOVERY) s.board.rack.reorderingSeen = true;
  s.undoable = false;
  s.board.unmarkLost();
  s.congestion.undo();
  s.state = OPEN;
  s.duplicateAcks = 0;
  s.forced = false;
  s.reorderingTimer = Infinity;
}

function endRecovery(s: Sender, now: number): void {
  if (s.state === RECOVERY) s.congestion.recovered(now);
  s.board.rack.recovered();
  s.state = OPEN;
  s.duplicateAcks = 0;
  s.reorderingTimer = Infinity;
}

/** What was sent into the closed window was dropped there. */
export function windowOpened(s: Sender): void {
  s.probing = false;
  s.rto.resetBackoff();
  sendAllAgain(s);
}

/** Repairs what was lost to something else than congestion: the window stays as it is. */
export function sendAllAgain(s: Sender): void {
  if (s.board.count === 0) return;
  s.board.loseAll();
  if (s.state === OPEN) {
    s.state = LOSS;
    s.recoveryPoint = s.nxt;
    // Nothing was reduced that could be undone.
    s.firstRetransmission = Infinity;
    s.undoable = false;
    s.tailProbe.cancel();
  }
  s.forced = true;
}

/** Segments in flight were too big for the path: not congestion (RFC 1191 §6.4, RFC 8899 §4.4). */
export function resegment(s: Sender, mss: number): void {
  s.setSegmentSize(mss);
  s.sizeProbe.reset();
  sendAllAgain(s);
}
