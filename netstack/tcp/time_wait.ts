import type { IpAddress } from "../address.ts";
import { type Flow, FlowTable } from "./demux.ts";
import { FIN, RST, type Segment, SYN } from "./header.ts";
import { after, before } from "./sequence.ts";

/** What is left of a connection in TIME-WAIT: no buffers, no timers of its own. */
export class TimeWait implements Flow {
  /** When it is forgotten, ms. */
  expires = 0;
  /** Its neighbours in the order of expiry. */
  older: TimeWait | undefined;
  newer: TimeWait | undefined;

  /** @param sendNext SND.NXT and @param receiveNext RCV.NXT, our FIN and the peer's included. */
  constructor(
    readonly local: IpAddress,
    readonly localPort: number,
    readonly remote: IpAddress,
    readonly remotePort: number,
    readonly hash: number,
    readonly sendNext: number,
    readonly receiveNext: number,
    readonly timestamps: boolean,
    readonly tsRecent: number,
    readonly tsOffset: number,
  ) {}
}

/** Verdicts of {@link TimeWaitTable.judge}. */
export const IGNORE = 0;
/** Send the last ACK again. */
export const ACKNOWLEDGE = 1;
/** A new connection may begin; the record is gone. */
export const REUSE = 2;

/** Age from which a record with timestamps does not keep us from its port (Linux tcp_tw_reuse), ms. */
const REUSABLE_AFTER = 1_000;

/** All connections in TIME-WAIT, in the order in which they expire. */
export class TimeWaitTable {
  readonly #table = new FlowTable<TimeWait>();
  #oldest: TimeWait | undefined;
  #newest: TimeWait | undefined;
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
    while (this.#table.size >= this.#most) {
      this.remove(this.#oldest!);
      this.overflow++;
    }
    this.#table.insert(record);
    this.#append(record, now);
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

  /**
   * Whether we may open a connection between the ends of `record`: what is left of the old one in
   * the network carries older timestamps than all of the new one (RFC 6191 §2, seen from the side
   * that sends the SYN).
   */
  isReusable(record: TimeWait, now: number): boolean {
    return record.timestamps && now - (record.expires - this.#duration) >= REUSABLE_AFTER;
  }

  /** Its ends belong to a new connection. */
  remove(record: TimeWait): void {
    this.#table.remove(record);
    this.#unlink(record);
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
      this.remove(record);
      return REUSE;
    }
    // Our last ACK was lost: the peer waits for another (RFC 9293 §3.10.7.4).
    if ((segment.flags & FIN) !== 0) {
      this.#unlink(record);
      this.#append(record, now);
    } else if (segment.length === 0 && !before(segment.sequence, record.receiveNext)) return IGNORE;
    return ACKNOWLEDGE;
  }

  /** When {@link expire} is due, ms; Infinity = nothing to do. */
  next(): number {
    return this.#oldest === undefined ? Infinity : this.#oldest.expires;
  }

  expire(now: number): void {
    for (let r = this.#oldest; r !== undefined && r.expires <= now; r = this.#oldest) {
      this.remove(r);
    }
  }

  /** Its time starts now. */
  #append(record: TimeWait, now: number): void {
    record.expires = now + this.#duration;
    record.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = record;
    else this.#newest.newer = record;
    this.#newest = record;
  }

  #unlink(record: TimeWait): void {
    const { older, newer } = record;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    record.older = undefined;
    record.newer = undefined;
  }
}
