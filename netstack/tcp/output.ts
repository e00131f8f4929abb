/**
 * What a connection sends, built in place in a slot of the link.
 *
 * @module
 */
import { writeUint16 } from "../bytes.ts";
import { finish } from "../checksum.ts";
import type { Connection } from "./connection.ts";
import {
  ACK,
  CHECKSUM,
  FIN,
  HEADER_LENGTH,
  MAX_SACK_BLOCKS,
  PSH,
  RST,
  SYN,
  writeHeader,
  writeSack,
  writeSynOptions,
  writeTimestamps,
} from "./header.ts";
import { pick, sent } from "./pick.ts";
import { distance } from "./sequence.ts";

/** Results of {@link emit}. */
export const DONE = 0;
/** The quota is used up. */
export const MORE = 1;
/** The link has no slot free: the same again at the next flush. */
export const BLOCKED = 2;

const NOTHING = 0;

/** ACKs of one flush besides the last, of each kind. */
const MOST_ACKS = 3;
/** Segments of data that arrived in one drain for each of them. */
const SEGMENTS_PER_ACK = 4;

/** Shared by all connections: a flush is never re-entered. */
const edges = new Int32Array(8);

/**
 * Sends what is due, at most `quota` segments with data.
 *
 * @returns {@link DONE}, {@link MORE} or {@link BLOCKED}.
 */
export function emit(c: Connection, quota: number, now: number): number {
  const { sender, receiver } = c;
  if (c.resetPending) {
    if (!sendBare(c, RST | ACK, bareSequence(c), receiver.next, -1, now)) return BLOCKED;
    c.resetPending = false;
    c.tcp.counters.resetsOut++;
  }
  if (c.state === "closed") return DONE;
  if (c.finWait2Pending) {
    c.finWait2Pending = false;
    if (!c.finished) c.stateTimer = now + c.tcp.settings.finWait2Ms;
  }
  if (c.state === "syn-sent" || c.state === "syn-received") {
    return c.synPending && !sendSyn(c, now) ? BLOCKED : DONE;
  }
  // SACK blocks go in segments of their own: data always comes in full segments.
  const reports = receiver.ranges > 0 || receiver.hasDuplicate;
  if (c.ackNow && reports && !sendAcks(c, now)) return BLOCKED;
  while (!c.finished && pick(sender, now)) {
    if (quota-- <= 0) return MORE;
    if (!sendData(c, now)) return BLOCKED;
  }
  if (!c.finished) {
    sender.settle(now);
    const holds = sender.ring.capacity + receiver.ring.capacity > 0;
    if (holds && c.idleTimer === Infinity) c.idleTimer = now + c.tcp.settings.idleMs;
  }
  if (c.ackNow && !sendAcks(c, now)) return BLOCKED;
  if (c.keepAliveProbePending) {
    // RFC 9293 §3.8.4: a sequence number already acknowledged provokes an ACK.
    if (!sendBare(c, ACK, (sender.nxt - 1) | 0, receiver.next, 0, now)) return BLOCKED;
    c.keepAliveProbePending = false;
  }
  return DONE;
}

/** SYN, or SYN-ACK in SYN-RECEIVED. @returns False if there is no slot. */
function sendSyn(c: Connection, now: number): boolean {
  const { tcp, sender, receiver } = c;
  const settings = tcp.settings;
  const offset = tcp.ip.allocate(c.path);
  if (offset < 0) return false;
  const buffer = c.path.nic.link.buffer;
  const answer = c.state === "syn-received";
  // An answer repeats only what was offered (RFC 7323 §2.2, §3.2; RFC 2018 §2).
  const scaled = answer ? c.scaled : settings.windowScale;
  const sack = answer ? sender.sack : settings.sack;
  const timestamps = answer ? c.timestamps : settings.timestamps;
  let end = writeSynOptions(
    buffer,
    offset + HEADER_LENGTH,
    c.announcedMss,
    scaled ? tcp.windowScale : -1,
    sack,
  );
  if (timestamps) {
    end = writeTimestamps(buffer, end, c.timestamp(now), answer ? c.tsRecent : 0);
  }
  const window = Math.min(0xffff, receiver.limit);
  writeHeader(
    buffer,
    offset,
    c.localPort,
    c.remotePort,
    c.iss,
    answer ? receiver.next : 0,
    end - offset,
    answer ? SYN | ACK : SYN,
    window,
  );
  if (c.synRetries === 0) c.synSentAt = now;
  sender.timer = now + sender.rto.current;
  c.synPending = false;
  complete(c, offset, end - offset, NOTHING, now);
  return true;
}

/** The segment that the sender picked. @returns False if there is no slot. */
function sendData(c: Connection, now: number): boolean {
  const { tcp, sender, receiver } = c;
  const offset = tcp.ip.allocate(c.path);
  if (offset < 0) return false;
  const buffer = c.path.nic.link.buffer;
  const length = sender.pickLength;
  const again = sender.pickIndex >= 0;
  const ahead = (sender.pickSequence - sender.una) | 0;
  const last = ahead + length === sender.ring.length;
  // RFC 9293 §3.9.1.2: PSH on the last of what is queued.
  const flags = ACK | (last ? PSH : 0) | (sender.pickFin ? FIN : 0);
  const { pickSequence } = sender;
  const headerLength = startSegment(c, buffer, offset, pickSequence, receiver.next, flags, 0, now);
  sender.ring.peek(ahead, buffer, offset + headerLength, length);
  sent(sender, now);
  if (again) tcp.counters.retransmits++;
  else c.bytesOut += length;
  complete(c, offset, headerLength + length, length, now);
  return true;
}

/**
 * The ACKs that are due. Many segments may have come in one drain; so that the loss of one ACK
 * does not cost the peer a timeout, a few are sent: on the way to what has arrived in order
 * (RFC 9293 §3.8.6.3 asks for one per two segments), and with what has arrived out of order
 * (RFC 5681 §4.2 for one each), the older SACK blocks first.
 *
 * @returns False if there is no slot.
 */
function sendAcks(c: Connection, now: number): boolean {
  const { receiver } = c;
  const sequence = bareSequence(c);
  const segment = receiver.segmentSize;
  const arrived = distance(receiver.next, c.lastAckSent);
  const steps = Math.min(MOST_ACKS, Math.floor(c.dataSegments / SEGMENTS_PER_ACK));
  const stride = Math.ceil(arrived / (steps + 1) / segment) * segment;
  for (let left = arrived - stride; steps > 0 && left > 0; left -= stride) {
    if (!sendBare(c, ACK, sequence, (receiver.next - left) | 0, -1, now)) return false;
    c.ackNow = true;
  }
  const repeats = receiver.ranges > 0 ? Math.min(MOST_ACKS, c.outOfOrderSegments) : 0;
  const blocks = c.timestamps ? MAX_SACK_BLOCKS : MAX_SACK_BLOCKS + 1;
  for (let i = repeats - 1; i >= 0; i--) {
    const skip = i * blocks < receiver.ranges ? i * blocks : 0;
    if (!sendBare(c, ACK, sequence, receiver.next, skip, now)) return false;
    c.ackNow = i > 0;
    c.outOfOrderSegments = i;
  }
  if (repeats > 0) return true;
  c.outOfOrderSegments = 0;
  return sendBare(c, ACK, sequence, receiver.next, 0, now);
}

/**
 * The sequence number of a segment without data: SND.NXT, but nothing behind the peer's window, as
 * after the probe of a closed one or when it shrank. There the peer must not take the ACK (RFC 9293
 * §3.4, table 6), and its own data would wait for our window probes (Linux tcp_acceptable_seq()).
 */
function bareSequence(c: Connection): number {
  const { una, nxt, inFlight, peer, board } = c.sender;
  if (board.count === 0) return nxt;
  const beyond = inFlight - peer.size;
  // Windows are rounded down to their scale: what was sent into one may end a little behind it.
  const rounding = peer.size === 0 ? 0 : (1 << c.sendScale) - 1;
  return beyond <= rounding ? nxt : (una + peer.size) | 0;
}

/**
 * ACK or RST without data.
 *
 * @param skip SACK blocks to leave out; -1 = all.
 * @returns False if there is no slot.
 */
function sendBare(
  c: Connection,
  flags: number,
  sequence: number,
  acknowledgment: number,
  skip: number,
  now: number,
): boolean {
  const offset = c.tcp.ip.allocate(c.path);
  if (offset < 0) return false;
  const buffer = c.path.nic.link.buffer;
  const { receiver, sender } = c;
  let blocks = 0;
  if (skip >= 0 && sender.sack && (receiver.ranges > 0 || receiver.hasDuplicate)) {
    const most = c.timestamps ? MAX_SACK_BLOCKS : MAX_SACK_BLOCKS + 1;
    blocks = receiver.sackBlocks(edges, most, skip);
  }
  const length = startSegment(c, buffer, offset, sequence, acknowledgment, flags, blocks, now);
  complete(c, offset, length, NOTHING, now);
  return true;
}

/** Writes the header. Whatever leaves acknowledges. @returns Its length. */
function startSegment(
  c: Connection,
  buffer: Uint8Array,
  offset: number,
  sequence: number,
  acknowledgment: number,
  flags: number,
  blocks: number,
  now: number,
): number {
  const receiver = c.receiver;
  // An ACK of less than all must not move the right edge of the window, so it keeps it.
  const window = acknowledgment === receiver.next
    ? receiver.announce()
    : Math.min(0xffff, distance(receiver.edge, acknowledgment) >> receiver.scale);
  let end = offset + HEADER_LENGTH;
  if (c.timestamps) end = writeTimestamps(buffer, end, c.timestamp(now), c.tsRecent);
  if (blocks > 0) end = writeSack(buffer, end, edges, blocks);
  writeHeader(
    buffer,
    offset,
    c.localPort,
    c.remotePort,
    sequence,
    acknowledgment,
    end - offset,
    flags,
    window,
  );
  c.ackNow = false;
  c.ackTimer = Infinity;
  c.unacknowledgedBytes = 0;
  c.dataSegments = 0;
  c.lastAckSent = acknowledgment;
  return end - offset;
}

function complete(c: Connection, offset: number, length: number, data: number, now: number): void {
  const buffer = c.path.nic.link.buffer;
  const checksum = finish(c.tcp.ip.sum(buffer, offset, length, c.path.pseudoSum + length));
  writeUint16(buffer, offset + CHECKSUM, checksum);
  c.segmentsOut++;
  c.tcp.counters.segmentsOut++;
  c.tcp.sentThisFlush += data > 0 ? 1 : 0;
  c.tcp.ip.transmit(c.path, offset, length, now);
}
