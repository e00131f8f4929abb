/**
 * What an acknowledgment does to a sender.
 *
 * @module
 */

import type { Segment } from "./header.ts";
import { congested, repair, tailProbeAnswered, windowOpened } from "./recovery.ts";
import { isDuplicateReport, sortBlocks } from "./sack_blocks.ts";
import { RECOVERY, type Sender } from "./sender.ts";
import { restartTimers } from "./sender_timers.ts";
import { after, before, distance } from "./sequence.ts";

/**
 * Takes the acknowledgment, the window and the SACK blocks of an acceptable segment.
 *
 * @param window Scaled.
 * @param echoDelay Age of the echoed timestamp, ms; -1 = none.
 */
export function acknowledge(
  s: Sender,
  segment: Segment,
  window: number,
  echoDelay: number,
  now: number,
): void {
  const ack = segment.acknowledgment;
  const board = s.board;
  const flight = s.inFlight;
  const windowBefore = s.peer.size;
  const advanced = distance(ack, s.una);
  s.peer.update(segment, window, advanced > 0);
  board.begin(s.rto.minimum);
  if (advanced > 0) {
    board.acknowledge(ack, now);
    // The FIN has a sequence number but no byte in the ring.
    s.ring.discard(Math.min(advanced, s.ring.length));
    s.una = ack;
    if (s.finSent && ack === s.nxt) s.finAcknowledged = true;
  }
  const reported = s.sack && segment.sackCount > 0 && handleSack(s, segment, now);
  // A peer that answers a probe is alive, however long its window stays closed
  // (RFC 9293 §3.8.6.1).
  if (advanced > 0 || (window === 0 && !s.orphaned)) s.retries = 0;
  if (advanced > 0) s.waitingSince = s.inFlight > 0 ? now : Infinity;

  measure(s, flight, advanced, echoDelay, reported, now);
  countDuplicates(s, segment, advanced, window === windowBefore);
  if (tailProbeAnswered(s, segment, advanced, reported)) {
    // RFC 8985 §7.4.2: the probe repaired a loss, which was congestion.
    congested(s, flight);
    s.congestion.recovered(now);
  }
  repair(s, flight, advanced, echoDelay, reported, now);
  if (windowBefore === 0 && s.peer.size > 0 && s.probing) windowOpened(s);
  restartTimers(s, advanced, now);
  s.growLimit();
}

/** @returns Whether the first block reports a duplicate (RFC 2883 §4). */
function handleSack(s: Sender, segment: Segment, now: number): boolean {
  const { sack, sackCount } = segment;
  const reported = isDuplicateReport(segment, s.una);
  // RACK takes what was delivered in ascending order (RFC 8985 §6.2 step 3).
  sortBlocks(sack, reported ? 1 : 0, sackCount);
  for (let i = reported ? 1 : 0; i < sackCount; i++) {
    const left = sack[2 * i]!;
    const right = sack[2 * i + 1]!;
    // Behind SND.UNA it is old, ahead of SND.NXT a lie.
    if (before(left, s.una) || after(right, s.nxt) || !before(left, right)) continue;
    s.board.sack(left, right, now);
  }
  return reported;
}

function measure(
  s: Sender,
  flight: number,
  advanced: number,
  echoDelay: number,
  reported: boolean,
  now: number,
): void {
  const board = s.board;
  if (board.delivered === 0) return;
  // RFC 7323 appendix G, by what this ACK covers: one may stand for a whole window.
  const samplesPerRound = Math.max(1, flight / Math.max(board.delivered, 2 * s.mss));
  if (board.sampleSentAt !== Infinity && !board.retransmissionDelivered) {
    s.rto.sample(now - board.sampleSentAt, samplesPerRound);
  } else if (echoDelay >= 0 && advanced > 0) {
    // RFC 7323 §4: the echo says which transmission was received; but a duplicate does not
    // change what is echoed (§4.3), which then is as old as the ACK that got lost.
    if (reported) s.rto.resetBackoff();
    else s.rto.sample(echoDelay, samplesPerRound);
  }
}

/** RFC 5681 §2: what a duplicate ACK is, for peers without SACK. */
function countDuplicates(s: Sender, segment: Segment, advanced: number, sameWindow: boolean): void {
  if (s.sack) return;
  if (advanced > 0) {
    if (s.state !== RECOVERY) s.duplicateAcks = 0;
    else {
      const segments = Math.ceil(advanced / s.mss) - 1;
      s.duplicateAcks = Math.max(0, s.duplicateAcks - segments);
    }
  } else if (
    s.board.count > 0 && segment.span === 0 && sameWindow && s.peer.size > 0
  ) {
    // Not the answers to probes of a closed window.
    s.duplicateAcks++;
  }
}
