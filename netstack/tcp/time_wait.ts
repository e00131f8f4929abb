import type { IpAddress } from "../address.ts";
import { type Flow, FlowTable } from "./demux.ts";
import { FIN, RST, type Segment, SYN } from "./header.ts";
import { after, before } from "./sequence.ts";

/** What is left of a connection in TIME-WAIT: no buffers, no timers of its own. */
export interface TimeWait extends Flow {
  /** SND.NXT and RCV.NXT, our FIN and the peer's included. */
  readonly sendNext: number;
  readonly receiveNext: number;
  readonly timestamps: boolean;
  readonly tsRecent: number;
  readonly tsOffset: number;
  expires: number;
}

/** Verdicts of {@link TimeWaitTable.judge}. */
export const IGNORE = 0;
/** Send the last ACK again. */
export const ACKNOWLEDGE = 1;
/** A new connection may begin; the record is gone. */
export const REUSE = 2;

/** All connections in TIME-WAIT. They expire in the order they came. */
export class TimeWaitTable {
  readonly #table = new FlowTable<TimeWait>();
  #queue: (TimeWait | undefined)[] = [];
  #head = 0;
  readonly #duration: number;
  readonly #most: number;
  /** Records that gave way before their time. */
  overflow = 0;

  /** @param duration 2 MSL, ms. @param most Records kept. */
  constructor(duration: number, most: number) {
    this.#duration = duration;
    this.#most = most;
  }

  get size(): number {
    return this.#table.size;
  }

  add(record: TimeWait, now: number): void {
    if (this.#duration === 0 || this.#most === 0) return;
    record.expires = now + this.#duration;
    while (this.#table.size >= this.#most) {
      const oldest = this.#shift();
      if (oldest !== undefined && this.#table.remove(oldest)) this.overflow++;
    }
    this.#table.insert(record);
    this.#queue.push(record);
  }

  lookup(
    hash: number,
    local: Uint8Array,
    localOffset: number,
    localPort: number,
    remote: Uint8Array,
    remoteOffset: number,
    remotePort: number,
    version: 4 | 6,
  ): TimeWait | undefined {
    if (this.#table.size === 0) return undefined;
    return this.#table.lookup(
      hash,
      local,
      localOffset,
      localPort,
      remote,
      remoteOffset,
      remotePort,
      version,
    );
  }

  find(
    hash: number,
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
  ): TimeWait | undefined {
    return this.#table.find(hash, local, localPort, remote, remotePort);
  }

  /** What a segment for `record` means. */
  judge(record: TimeWait, segment: Segment, now: number): number {
    // RFC 1337: a reset must not end TIME-WAIT early.
    if ((segment.flags & RST) !== 0) return IGNORE;
    if ((segment.flags & SYN) !== 0) {
      // RFC 6191 §2; without timestamps RFC 1122 §4.2.2.13.
      const newer = record.timestamps && segment.hasTimestamps
        ? after(segment.tsValue, record.tsRecent) ||
          segment.tsValue === record.tsRecent && after(segment.sequence, record.receiveNext)
        : after(segment.sequence, record.receiveNext);
      if (!newer) return ACKNOWLEDGE;
      this.#table.remove(record);
      return REUSE;
    }
    // Our last ACK was lost: the peer waits for another (RFC 9293 §3.10.7.4).
    if ((segment.flags & FIN) !== 0) record.expires = now + this.#duration;
    else if (segment.length === 0 && !before(segment.sequence, record.receiveNext)) return IGNORE;
    return ACKNOWLEDGE;
  }

  /** When {@link expire} is due, ms; Infinity = nothing to do. */
  next(): number {
    const first = this.#queue[this.#head];
    return first === undefined ? Infinity : first.expires;
  }

  expire(now: number): void {
    for (
      let first = this.#queue[this.#head];
      first !== undefined;
      first = this.#queue[this.#head]
    ) {
      if (first.expires > now) {
        // Was it put off? Then it belongs behind the others.
        const second = this.#queue[this.#head + 1];
        if (second === undefined || second.expires >= first.expires) return;
        this.#shift();
        this.#queue.push(first);
        continue;
      }
      this.#shift();
      this.#table.remove(first);
    }
  }

  #shift(): TimeWait | undefined {
    const first = this.#queue[this.#head];
    this.#queue[this.#head++] = undefined;
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    } else if (this.#head > 1_024 && 2 * this.#head > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return first;
  }
}
