/**
 * A segment arrives for a connection (RFC 9293 §3.10.7). Changes state and marks what to send;
 * sends nothing.
 *
 * @module
 */
import { acknowledge } from "./acknowledge.ts";
import { ANNOUNCED, type Connection, READABLE, WRITABLE } from "./connection.ts";
import { ACK, FIN, opensAndCloses, RST, type Segment, SYN } from "./header.ts";
import { seekFullSize } from "./path_mtu.ts";
import { ACK_AT_ONCE, ADVANCED, FINISHED } from "./receiver.ts";
import { after, before, distance } from "./sequence.ts";

/** A timestamp older than this may have wrapped (RFC 7323 §5.5), ms. */
const PAWS_IDLE = 24 * 86_400_000;
/** Segments without data outside of the window are answered this often, so that no two stacks
 * keep answering each other, ms. */
const INVALID_INTERVAL = 200;

export function handleSegment(c: Connection, segment: Segment, now: number): void {
  c.segmentsIn++;
  c.lastReceived = now;
  c.keepAliveProbes = 0;
  if (c.state === "syn-sent") handleSynSent(c, segment, now);
  else if (!c.finished) handleSynchronized(c, segment, now);
}

/** RFC 9293 §3.10.7.3 */
function handleSynSent(c: Connection, segment: Segment, now: number): void {
  const { sender, tcp } = c;
  const flags = segment.flags;
  if (opensAndCloses(flags)) {
    tcp.counters.badFlags++;
    return;
  }
  const acknowledges = (flags & ACK) !== 0;
  if (acknowledges && segment.acknowledgment !== ((c.iss + 1) | 0)) {
    if ((flags & RST) === 0) tcp.replies.reset(c.path, c.localPort, c.remotePort, segment);
    return;
  }
  if ((flags & RST) !== 0) {
    // RFC 5961 §3 applies in synchronized states only; here the ACK proves it.
    if (acknowledges) {
      c.fail({ kind: "refused", message: "the connection was refused" }, false);
    }
    return;
  }
  if ((flags & SYN) === 0) return;
  c.takeSyn(segment, now);
  if (acknowledges) {
    sender.una = segment.acknowledgment;
    c.establish(segment, segment.window, now);
    c.ackNow = true;
  } else {
    // Simultaneous open.
    c.state = "syn-received";
    c.synPending = true;
  }
  // Data in a SYN is not taken; the peer sends it again.
  tcp.markDirty(c);
}

/** RFC 9293 §3.10.7.4: SYN-RECEIVED and everything after it. */
function handleSynchronized(c: Connection, segment: Segment, now: number): void {
  const { sender, receiver, tcp } = c;
  let flags = segment.flags;
  let sequence = segment.sequence;

  if (c.state === "syn-received" && (flags & SYN) !== 0) {
    if (opensAndCloses(flags)) {
      tcp.counters.badFlags++;
      return;
    }
    if (sequence === c.irs) {
      if ((flags & ACK) === 0) {
        // The client did not see our SYN-ACK; the next one answers this SYN (RFC 7323 §4.3).
        if (c.timestamps && segment.hasTimestamps) c.tsRecent = segment.tsValue;
        c.synPending = true;
        tcp.markDirty(c);
        return;
      }
      // The other half of a simultaneous open: the SYN is known, the ACK is what counts.
      flags &= ~SYN;
      sequence = (sequence + 1) | 0;
      segment.length = 0;
    }
  }

  // RFC 7323 §5.3: protection against wrapped sequence numbers, before the sequence check.
  // Without the option there is nothing to compare: RFC 7323 §3.2 would drop the segment, but real
  // stacks and middleboxes send such, and Linux takes them.
  if (c.timestamps && (flags & RST) === 0) {
    if (!segment.hasTimestamps) tcp.counters.withoutTimestamp++;
    else if (before(segment.tsValue, c.tsRecent) && now - c.tsRecentAt < PAWS_IDLE) {
      tcp.counters.paws++;
      answerInvalid(c, segment, now);
      return;
    }
  }

  // First, the sequence number.
  const span = segment.length + ((flags & SYN) >> 1) + (flags & FIN);
  const window = receiver.window;
  if (!acceptable(c, sequence, span, window)) {
    // The window is closed: data is dropped, but ACK and RST count (RFC 9293 §3.10.7.4).
    if (sequence === receiver.next && window === 0) {
      c.ackNow = true;
      tcp.markDirty(c);
    } else {
      if ((flags & RST) !== 0) return;
      tcp.counters.outOfWindow++;
      if (
        segment.length > 0 && before(sequence, receiver.next) && sender.sack &&
        !after((sequence + segment.length) | 0, receiver.next)
      ) receiver.accept(sequence, segment.buffer, segment.payload, segment.length, false);
      answerInvalid(c, segment, now);
      return;
    }
  }

  // Second, RST: only the exact next sequence number is believed (RFC 5961 §3.2).
  if ((flags & RST) !== 0) {
    tcp.counters.resetsIn++;
    if (sequence === receiver.next) handleReset(c);
    else challenge(c, now);
    return;
  }
  // Fourth, SYN: a challenge, whatever its sequence number (RFC 5961 §4.2).
  if ((flags & SYN) !== 0) {
    challenge(c, now);
    return;
  }
  // Fifth, ACK.
  if ((flags & ACK) === 0) return;
  const ack = segment.acknowledgment;
  if (c.state === "syn-received") {
    if (ack !== ((c.iss + 1) | 0)) {
      tcp.replies.reset(c.path, c.localPort, c.remotePort, segment);
      return;
    }
    c.establish(segment, segment.window << c.sendScale, now);
    if (c.listener !== undefined) c.raise(ANNOUNCED);
  } else if (after(ack, sender.nxt) || distance(ack, sender.una) < -sender.peer.largest) {
    // RFC 5961 §5.2
    tcp.counters.badAck++;
    challenge(c, now);
    return;
  }

  // RFC 7323 §4.3: the timestamp to echo is that of the segment the next ACK answers.
  if (
    c.timestamps && segment.hasTimestamps && !before(segment.tsValue, c.tsRecent) &&
    !after(sequence, c.lastAckSent)
  ) {
    c.tsRecent = segment.tsValue;
    c.tsRecentAt = now;
  }

  if (!before(ack, sender.una)) handleAck(c, segment, now);
  if (c.finished) return;

  // Seventh and eighth, data and FIN.
  if (segment.length > 0 || (flags & FIN) !== 0) handleData(c, segment, sequence, flags, now);
}

/** RFC 9293 §3.4, table 6. */
function acceptable(c: Connection, sequence: number, span: number, window: number): boolean {
  const ahead = distance(sequence, c.receiver.next);
  if (span === 0) {
    // An ACK overtaken by data that was sent after it is as good as new: it lies between what we
    // last acknowledged and what we have (Linux tcp_sequence() does the same). To those of a peer
    // that has probed the closed window with a byte, that byte belongs (RFC 9293 §3.10.7.4: special
    // allowance should be made to accept valid ACKs).
    const most = window === 0 ? 1 : window;
    return ahead <= most && distance(sequence, c.lastAckSent) >= 0 || ahead === 0;
  }
  if (window === 0) return false;
  if (ahead >= window) return false;
  return ahead >= 0 || ahead + span > 0;
}

function answerInvalid(c: Connection, segment: Segment, now: number): void {
  if (segment.span === 0) {
    if (now - c.lastInvalidAnswered < INVALID_INTERVAL) return;
    c.lastInvalidAnswered = now;
  }
  c.ackNow = true;
  c.tcp.markDirty(c);
}

/** RFC 9293 §3.10.7.4: an error, unless only the ACK of our FIN was missing. */
function handleReset(c: Connection): void {
  const closing = c.state === "closing" || c.state === "last-ack";
  if (closing && c.sender.finSent && c.sender.inFlight === 1) c.tcp.finish(c, undefined);
  else c.fail({ kind: "reset", message: "the connection was reset by the peer" }, false);
}

/** RFC 5961 §3.2, §4.2, §5.2: an ACK that makes a real peer show itself. */
function challenge(c: Connection, now: number): void {
  if (!c.tcp.challenges.take(now)) {
    c.tcp.counters.challengeAcksSuppressed++;
    return;
  }
  c.tcp.counters.challengeAcks++;
  c.ackNow = true;
  c.tcp.markDirty(c);
}

function handleAck(c: Connection, segment: Segment, now: number): void {
  const { sender, tcp } = c;
  const window = segment.window << c.sendScale;
  // What a bulk receiver gets with every segment: nothing new.
  const nothingNew = segment.length > 0 && segment.acknowledgment === sender.una &&
    segment.sackCount === 0 && window === sender.peer.size;
  if (nothingNew) return;

  const { una } = sender;
  const echoDelay = c.timestamps && segment.hasTimestamps ? c.echoDelay(segment, now) : -1;
  acknowledge(sender, segment, window, echoDelay, now);
  if (sender.una !== una) {
    c.moved(distance(sender.una, una), now);
    if (now >= c.raiseAt) seekFullSize(c, now);
  }
  if (c.wantsWritable && sender.hasRoom) {
    c.wantsWritable = false;
    c.raise(WRITABLE);
  }
  // New room, new losses, or a queue that waited.
  tcp.markDirty(c);
  if (sender.finAcknowledged) handleFinAcknowledged(c, now);
}

function handleFinAcknowledged(c: Connection, now: number): void {
  switch (c.state) {
    case "fin-wait-1":
      c.state = "fin-wait-2";
      if (c.readClosed) c.startFinWait2();
      break;
    case "closing":
      c.tcp.enterTimeWait(c, now);
      break;
    case "last-ack":
      c.tcp.finish(c, undefined);
      break;
  }
}

function handleData(
  c: Connection,
  segment: Segment,
  sequence: number,
  flags: number,
  now: number,
): void {
  const { receiver, tcp } = c;
  // Nothing can follow the peer's FIN.
  if (receiver.finished) {
    c.ackNow = true;
    tcp.markDirty(c);
    return;
  }
  const end = (sequence + segment.length) | 0;
  const isUnwanted = c.readClosed && (!c.lingering || c.sender.finAcknowledged);
  if (isUnwanted && segment.length > 0 && after(end, receiver.next)) {
    // RFC 1122 §4.2.2.13: nobody will read this, and the peer should know.
    c.fail({ kind: "aborted", message: "data arrived after this side had closed" }, true);
    return;
  }
  const nextBefore = receiver.next;
  const prunedBefore = receiver.pruned;
  const droppedBefore = receiver.dropped;
  const result = receiver.accept(
    sequence,
    segment.buffer,
    segment.payload,
    segment.length,
    (flags & FIN) !== 0,
  );
  tcp.counters.outOfOrderPruned += receiver.pruned - prunedBefore;
  tcp.counters.droppedNoMemory += receiver.dropped - droppedBefore;
  if (segment.length > 0) {
    if ((result & ADVANCED) !== 0) c.dataSegments++;
    else {
      c.outOfOrderSegments++;
      if (after(sequence, nextBefore)) c.segmentsOutOfOrder++; // else it came twice
    }
  }
  if ((result & ADVANCED) !== 0) {
    const gain = distance(receiver.next, nextBefore) - ((result & FINISHED) !== 0 ? 1 : 0);
    c.bytesIn += gain;
    c.unacknowledgedBytes += gain;
    receiver.tune(c.sender.rto.smoothed, now);
    c.received();
  }
  if ((result & FINISHED) !== 0) {
    c.raise(READABLE);
    handleFin(c, now);
  }
  if ((result & ACK_AT_ONCE) !== 0) c.ackNow = true;
  else scheduleAck(c, now);
  tcp.markDirty(c);
}

/** RFC 9293 §3.8.6.3, RFC 5681 §4.2: every second full segment, or after the delay. */
function scheduleAck(c: Connection, now: number): void {
  if (c.quickAcks > 0) {
    c.quickAcks--;
    c.ackNow = true;
  } else if (c.unacknowledgedBytes >= 2 * c.receiver.segmentSize) c.ackNow = true;
  else if (c.ackTimer === Infinity) c.ackTimer = now + c.tcp.settings.delayedAckMs;
}

/** The peer's FIN, in order. */
function handleFin(c: Connection, now: number): void {
  switch (c.state) {
    case "established":
      c.state = "close-wait";
      break;
    case "fin-wait-1":
      // Its ACK of our FIN, if any, was taken before.
      c.state = "closing";
      break;
    case "fin-wait-2":
      c.tcp.enterTimeWait(c, now);
      break;
  }
}
