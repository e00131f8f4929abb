/**
 * Connections in TIME-WAIT, as rows of one table (RFC 9293 §3.6.1, RFC 6191).
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { readInt32 } from "../bytes.ts";
import type { Flow } from "./demux.ts";
import { FIN, RST, type Segment, SYN } from "./header.ts";
import { after, before } from "./sequence.ts";

/** What a connection leaves behind. */
export interface TimeWaitState extends Flow {
  /** SND.NXT and RCV.NXT, our FIN and the peer's included. */
  readonly sendNext: number;
  readonly receiveNext: number;
  readonly timestamps: boolean;
  readonly tsRecent: number;
  readonly tsOffset: number;
}

/** A record that was looked up, as it was then. */
export interface TimeWait extends Omit<TimeWaitState, keyof Flow> {
  readonly localPort: number;
  readonly remotePort: number;
  /** When it is forgotten, ms. */
  readonly expires: number;
  /** Its place in the table. */
  readonly row: number;
}

/** Verdicts of {@link TimeWaitTable.judge}. */
export const IGNORE = 0;
/** Send the last ACK again. */
export const ACKNOWLEDGE = 1;
/** A new connection may begin; the record is gone. */
export const REUSE = 2;

/** Age from which a record with timestamps does not keep us from its port (Linux tcp_tw_reuse), ms. */
const REUSABLE_AFTER = 1_000;

const FEWEST_ROWS = 256;
const NONE = -1;

// A row, in 32-bit words. An IPv4 address takes the first of four.
const LOCAL = 0;
const REMOTE = 4;
const PORTS = 8;
const HASH = 9;
const SEND_NEXT = 10;
const RECEIVE_NEXT = 11;
const TS_RECENT = 12;
const TS_OFFSET = 13;
const FLAGS = 14;
const WORDS = 15;

const IPV6 = 1;
const TIMESTAMPS = 2;

/**
 * All connections in TIME-WAIT, in the order in which they expire. A record is a row of numbers and
 * no object: 84 bytes, where the table is full.
 */
export class TimeWaitTable {
  readonly #duration: number;
  readonly #most: number;
  /** Records that gave way before their time. */
  overflow = 0;
  #size = 0;
  /** Rows there is room for: a power of two. */
  #rows = 0;
  #words = new Int32Array(0);
  #expires = new Float64Array(0);
  /** Neighbours in the order of expiry; free rows are linked by `#newer` too. */
  #older = new Int32Array(0);
  #newer = new Int32Array(0);
  #oldest = NONE;
  #newest = NONE;
  #free = NONE;
  /** Rows by hash, twice as many slots as rows: open addressing, linear probing. */
  #slots = new Int32Array(0);

  /** @param duration 2 MSL, ms. @param most Records kept. */
  constructor(duration: number, most: number) {
    this.#duration = duration;
    this.#most = most;
  }

  get size(): number {
    return this.#size;
  }

  add(state: TimeWaitState, now: number): void {
    if (this.#duration === 0 || this.#most === 0) return;
    while (this.#size >= this.#most) {
      this.#removeRow(this.#oldest);
      this.overflow++;
    }
    if (this.#free === NONE) this.#resize(Math.max(FEWEST_ROWS, 2 * this.#rows));
    const row = this.#free;
    this.#free = this.#newer[row]!;
    const words = this.#words;
    const at = row * WORDS;
    const { local, remote } = state;
    for (let i = 0; i < local.bytes.length; i += 4) {
      words[at + LOCAL + i / 4] = readInt32(local.bytes, i);
      words[at + REMOTE + i / 4] = readInt32(remote.bytes, i);
    }
    words[at + PORTS] = state.localPort << 16 | state.remotePort;
    words[at + HASH] = state.hash;
    words[at + SEND_NEXT] = state.sendNext;
    words[at + RECEIVE_NEXT] = state.receiveNext;
    words[at + TS_RECENT] = state.tsRecent;
    words[at + TS_OFFSET] = state.tsOffset;
    words[at + FLAGS] = (local.version === 6 ? IPV6 : 0) | (state.timestamps ? TIMESTAMPS : 0);
    this.#size++;
    this.#place(row);
    this.#append(row, now);
  }

  /** Finds the record of these ends; addresses are bytes of a packet. */
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
    if (this.#size === 0) return undefined;
    const words = this.#words;
    const mask = this.#slots.length - 1;
    const ports = localPort << 16 | remotePort;
    const addressWords = version === 4 ? 1 : 4;
    for (let i = hash & mask;; i = (i + 1) & mask) {
      const row = this.#slots[i]!;
      if (row === NONE) return undefined;
      const at = row * WORDS;
      if (words[at + HASH] !== (hash | 0) || words[at + PORTS] !== ports) continue;
      if ((words[at + FLAGS]! & IPV6) !== (version === 6 ? IPV6 : 0)) continue;
      let same = true;
      for (let j = 0; j < addressWords && same; j++) {
        same = words[at + LOCAL + j] === readInt32(local, localOffset + 4 * j) &&
          words[at + REMOTE + j] === readInt32(remote, remoteOffset + 4 * j);
      }
      if (same) return this.#read(row);
    }
  }

  find(
    hash: number,
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
  ): TimeWait | undefined {
    return this.lookup(
      hash,
      local.bytes,
      0,
      localPort,
      remote.bytes,
      0,
      remotePort,
      local.version,
    );
  }

  /**
   * Whether we may open a connection between the ends of `record`: what is left of the old one in
   * the network carries older timestamps than all of the new one (RFC 6191 §2, seen from the side
   * that sends the SYN).
   */
  isReusable(record: TimeWait, now: number): boolean {
    return record.timestamps && now - (record.expires - this.#duration) >= REUSABLE_AFTER;
  }

  /** A new connection takes over. To be called right after the look-up. */
  remove(record: TimeWait): void {
    this.#removeRow(record.row);
  }

  /** What a segment for `record` means. To be called right after the look-up. */
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
      this.#unlink(record.row);
      this.#append(record.row, now);
    } else if (segment.length === 0 && !before(segment.sequence, record.receiveNext)) return IGNORE;
    return ACKNOWLEDGE;
  }

  /** When {@link expire} is due, ms; Infinity = nothing to do. */
  next(): number {
    return this.#oldest === NONE ? Infinity : this.#expires[this.#oldest]!;
  }

  expire(now: number): void {
    while (this.#oldest !== NONE && this.#expires[this.#oldest]! <= now) {
      this.#removeRow(this.#oldest);
    }
  }

  #read(row: number): TimeWait {
    const words = this.#words;
    const at = row * WORDS;
    const ports = words[at + PORTS]!;
    return {
      row,
      localPort: ports >>> 16,
      remotePort: ports & 0xffff,
      sendNext: words[at + SEND_NEXT]!,
      receiveNext: words[at + RECEIVE_NEXT]!,
      timestamps: (words[at + FLAGS]! & TIMESTAMPS) !== 0,
      tsRecent: words[at + TS_RECENT]!,
      tsOffset: words[at + TS_OFFSET]!,
      expires: this.#expires[row]!,
    };
  }

  #removeRow(row: number): void {
    this.#unlink(row);
    this.#vacate(row);
    this.#newer[row] = this.#free;
    this.#free = row;
    this.#size--;
    if (this.#size === 0 && this.#rows > FEWEST_ROWS) this.#resize(0);
  }

  /** Its time starts now. */
  #append(row: number, now: number): void {
    this.#expires[row] = now + this.#duration;
    this.#older[row] = this.#newest;
    this.#newer[row] = NONE;
    if (this.#newest === NONE) this.#oldest = row;
    else this.#newer[this.#newest] = row;
    this.#newest = row;
  }

  #unlink(row: number): void {
    const older = this.#older[row]!;
    const newer = this.#newer[row]!;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
  }

  #place(row: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let i = this.#words[row * WORDS + HASH]! & mask;
    while (slots[i] !== NONE) i = (i + 1) & mask;
    slots[i] = row;
  }

  /** Moves later rows of the run back, so that no tombstone is needed (Knuth 6.4 R). */
  #vacate(row: number): void {
    const slots = this.#slots;
    const words = this.#words;
    const mask = slots.length - 1;
    let hole = words[row * WORDS + HASH]! & mask;
    while (slots[hole] !== row) hole = (hole + 1) & mask;
    for (let i = (hole + 1) & mask; slots[i] !== NONE; i = (i + 1) & mask) {
      const home = words[slots[i]! * WORDS + HASH]! & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      slots[hole] = slots[i]!;
      hole = i;
    }
    slots[hole] = NONE;
  }

  /** Rows keep their places. The table is full, or empty. */
  #resize(rows: number): void {
    const used = Math.min(this.#rows, rows);
    const grown = <T extends Int32Array | Float64Array>(to: T, from: T): T => {
      to.set(from.subarray(0, used * (from.length / (this.#rows || 1))));
      return to;
    };
    this.#words = grown(new Int32Array(rows * WORDS), this.#words);
    this.#expires = grown(new Float64Array(rows), this.#expires);
    this.#older = grown(new Int32Array(rows), this.#older);
    this.#newer = grown(new Int32Array(rows), this.#newer);
    this.#slots = new Int32Array(2 * rows).fill(NONE);
    this.#rows = rows;
    this.#free = NONE;
    for (let row = rows - 1; row >= used; row--) {
      this.#newer[row] = this.#free;
      this.#free = row;
    }
    for (let row = this.#oldest; row !== NONE; row = this.#newer[row]!) this.#place(row);
  }
}
