/**
 * Segments that are sent without a connection.
 *
 * @module
 */

import { writeUint16 } from "../bytes.ts";
import { finish, sum } from "../checksum.ts";
import type { Nic } from "../nic.ts";
import type { IpOutput, Path, UnreachableKind } from "../transport.ts";
import type { TcpCounters } from "./counters.ts";
import {
  ACK,
  CHECKSUM,
  HEADER_LENGTH,
  RST,
  type Segment,
  SYN,
  writeHeader,
  writeSynOptions,
  writeTimestamps,
} from "./header.ts";
import type { TimeWait } from "./time_wait.ts";

/** Replies kept between two flushes; more are dropped and counted. */
const MOST = 1_024;

interface Reply {
  readonly path: Path;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  readonly window: number;
  readonly timeWait: TimeWait | undefined;
  readonly tsEcho: number;
  readonly synAck: SynAck | undefined;
}

/** A SYN-ACK for which there is no connection. */
export interface SynAck {
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly mss: number;
  /** -1 = none. */
  readonly windowScale: number;
  readonly sack: boolean;
  readonly window: number;
  /** Undefined = without. */
  readonly timestamp: number | undefined;
  readonly timestampEcho: number;
}

/** An ICMP error about a SYN, and what its RST answers. */
interface Report {
  readonly kind: UnreachableKind;
  readonly original: Uint8Array;
  readonly path: Path;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly syn: Segment;
}

/** Answers that belong to no connection: resets, the ACKs of TIME-WAIT, ICMP errors. */
export class Replies {
  readonly #ip: IpOutput;
  readonly #counters: TcpCounters;
  readonly #replies: Reply[] = [];
  #reports: Report[] = [];

  constructor(ip: IpOutput, counters: TcpCounters) {
    this.#ip = ip;
    this.#counters = counters;
  }

  get pending(): boolean {
    return this.#replies.length > 0 || this.#reports.length > 0;
  }

  /** Answers a segment that fits no connection (RFC 9293 §3.10.7.1). */
  reset(path: Path, sourcePort: number, destinationPort: number, segment: Segment): void {
    if ((segment.flags & RST) !== 0) return;
    const acknowledges = (segment.flags & ACK) !== 0;
    this.#add({
      path,
      sourcePort,
      destinationPort,
      sequence: acknowledges ? segment.acknowledgment : 0,
      acknowledgment: acknowledges ? 0 : (segment.sequence + segment.span) | 0,
      flags: acknowledges ? RST : RST | ACK,
      window: 0,
      timeWait: undefined,
      tsEcho: 0,
      synAck: undefined,
    });
  }

  /** Answers a SYN of which nothing is kept. */
  synAck(path: Path, sourcePort: number, destinationPort: number, synAck: SynAck): void {
    const { sequence, acknowledgment, window } = synAck;
    const flags = SYN | ACK;
    this.#add({
      path,
      sourcePort,
      destinationPort,
      sequence,
      acknowledgment,
      flags,
      window,
      timeWait: undefined,
      tsEcho: 0,
      synAck,
    });
  }

  /** The last ACK once more. */
  acknowledge(path: Path, record: TimeWait): void {
    this.#add({
      path,
      sourcePort: record.localPort,
      destinationPort: record.remotePort,
      sequence: record.sendNext,
      acknowledgment: record.receiveNext,
      flags: ACK,
      window: 0xffff,
      timeWait: record.timestamps ? record : undefined,
      tsEcho: record.tsRecent,
      synAck: undefined,
    });
  }

  /**
   * An ICMP error about the SYN whose packet begins with `original`, and then RST. Where ICMP must stay
   * silent, over its rate limit for one, so does the RST: alone it would say that a port is closed.
   */
  unreachable(
    kind: UnreachableKind,
    original: Uint8Array,
    path: Path,
    sourcePort: number,
    destinationPort: number,
    syn: Segment,
  ): void {
    if (this.#reports.length < MOST) {
      this.#reports.push({ kind, original, path, sourcePort, destinationPort, syn });
    } else this.#counters.repliesDropped++;
    this.#ip.markDirty();
  }

  /** @returns Whether everything was sent. */
  flush(now: number): boolean {
    for (const { kind, original, path, sourcePort, destinationPort, syn } of this.#reports) {
      if (this.#ip.sendUnreachable(kind, path.nic, original, 0, original.length, now)) {
        this.reset(path, sourcePort, destinationPort, syn);
      }
    }
    if (this.#reports.length > 0) this.#reports = [];
    const replies = this.#replies;
    let kept = 0;
    let full: Nic | undefined; // a link without slots holds up nobody else's
    for (let i = 0; i < replies.length; i++) {
      const reply = replies[i]!;
      if (reply.path.nic !== full && this.#send(reply, now)) continue;
      full = reply.path.nic;
      replies[kept++] = reply;
    }
    replies.length = kept;
    return kept === 0;
  }

  #add(reply: Reply): void {
    if (this.#replies.length < MOST) this.#replies.push(reply);
    else this.#counters.repliesDropped++;
    this.#ip.markDirty();
  }

  #send(reply: Reply, now: number): boolean {
    const { path, timeWait, synAck } = reply;
    const offset = this.#ip.allocate(path);
    if (offset < 0) return false;
    const buffer = path.nic.link.buffer;
    let end = offset + HEADER_LENGTH;
    if (synAck !== undefined) {
      const { mss, windowScale, sack, timestamp, timestampEcho } = synAck;
      end = writeSynOptions(buffer, end, mss, windowScale, sack);
      if (timestamp !== undefined) end = writeTimestamps(buffer, end, timestamp, timestampEcho);
    }
    if (timeWait !== undefined) {
      end = writeTimestamps(buffer, end, (Math.floor(now) + timeWait.tsOffset) | 0, reply.tsEcho);
    }
    const length = end - offset;
    writeHeader(
      buffer,
      offset,
      reply.sourcePort,
      reply.destinationPort,
      reply.sequence,
      reply.acknowledgment,
      length,
      reply.flags,
      reply.window,
    );
    const checksum = finish(sum(buffer, offset, length, path.pseudoSum + length));
    writeUint16(buffer, offset + CHECKSUM, checksum);
    this.#counters.segmentsOut++;
    if ((reply.flags & RST) !== 0) this.#counters.resetsOut++;
    this.#ip.transmit(path, offset, length, now);
    return true;
  }
}
