/**
 * What a connection sends, built in place in a slot of the link.
 *
 * @module
 */
import { writeUint16 } from "../bytes.ts";
import { finish, sum } from "../checksum.ts";
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

/** Results of {@link emit}. */
export const DONE = 0;
/** The quota is used up. */
export const MORE = 1;
/** The link has no slot free: the same again at the next flush. */
export const BLOCKED = 2;

const NOTHING = 0;

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
    if (!sendBare(c, RST | ACK, sender.nxt, now)) return BLOCKED;
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
  // SACK blocks go in segments of their own: text always comes in full segments.
  const reports = receiver.ranges > 0 || receiver.hasDuplicate;
  if (c.ackNow && reports && !sendBare(c, ACK, sender.nxt, now)) return BLOCKED;
  while (!c.finished && sender.pick(now)) {
    if (quota-- <= 0) return MORE;
    if (!sendText(c, now)) return BLOCKED;
  }
  if (!c.finished) sender.settle(now);
  if (c.ackNow && !sendBare(c, ACK, sender.nxt, now)) return BLOCKED;
  if (c.keepAliveProbePending) {
    // RFC 9293 §3.8.4: a sequence number already acknowledged provokes an ACK.
    if (!sendBare(c, ACK, (sender.nxt - 1) | 0, now)) return BLOCKED;
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
    end = writeTimestamps(buffer, end, tcp.timestamp(c, now), answer ? c.tsRecent : 0);
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
function sendText(c: Connection, now: number): boolean {
  const { tcp, sender } = c;
  const offset = tcp.ip.allocate(c.path);
  if (offset < 0) return false;
  const buffer = c.path.nic.link.buffer;
  const length = sender.pickLength;
  const again = sender.pickIndex >= 0;
  const ahead = (sender.pickSequence - sender.una) | 0;
  const last = ahead + length === sender.ring.length;
  // RFC 9293 §3.9.1.2: PSH on the last of what is queued.
  const flags = ACK | (last ? PSH : 0) | (sender.pickFin ? FIN : 0);
  const headerLength = startSegment(c, buffer, offset, sender.pickSequence, flags, 0, now);
  sender.ring.peek(ahead, buffer, offset + headerLength, length);
  sender.sent(now);
  if (again) tcp.counters.retransmits++;
  else c.bytesOut += length;
  complete(c, offset, headerLength + length, length, now);
  return true;
}

/** ACK or RST without text. @returns False if there is no slot. */
function sendBare(c: Connection, flags: number, sequence: number, now: number): boolean {
  const offset = c.tcp.ip.allocate(c.path);
  if (offset < 0) return false;
  const buffer = c.path.nic.link.buffer;
  const blocks = c.sender.sack && (flags & RST) === 0
    ? c.receiver.sackBlocks(edges, c.timestamps ? MAX_SACK_BLOCKS : MAX_SACK_BLOCKS + 1)
    : 0;
  c.receiver.hasDuplicate = false;
  const headerLength = startSegment(c, buffer, offset, sequence, flags, blocks, now);
  complete(c, offset, headerLength, NOTHING, now);
  return true;
}

/** Writes the header. Whatever leaves acknowledges everything. @returns Its length. */
function startSegment(
  c: Connection,
  buffer: Uint8Array,
  offset: number,
  sequence: number,
  flags: number,
  blocks: number,
  now: number,
): number {
  const receiver = c.receiver;
  let end = offset + HEADER_LENGTH;
  if (c.timestamps) end = writeTimestamps(buffer, end, c.tcp.timestamp(c, now), c.tsRecent);
  if (blocks > 0) end = writeSack(buffer, end, edges, blocks);
  writeHeader(
    buffer,
    offset,
    c.localPort,
    c.remotePort,
    sequence,
    receiver.next,
    end - offset,
    flags,
    receiver.announce(),
  );
  c.ackNow = false;
  c.ackTimer = Infinity;
  c.unacknowledgedBytes = 0;
  c.lastAckSent = receiver.next;
  return end - offset;
}

function complete(c: Connection, offset: number, length: number, text: number, now: number): void {
  const buffer = c.path.nic.link.buffer;
  const checksum = finish(sum(buffer, offset, length, c.path.pseudoSum + length));
  writeUint16(buffer, offset + CHECKSUM, checksum);
  c.segmentsOut++;
  c.tcp.counters.segmentsOut++;
  c.tcp.sentThisFlush += text > 0 ? 1 : 0;
  c.tcp.ip.transmit(c.path, offset, length, now);
}
