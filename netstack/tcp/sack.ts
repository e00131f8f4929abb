/**
 * The sender's scoreboard: one record per segment in flight, in flat arrays (RFC 6675 §3).
 *
 * Records lie back to back: a record starts where its predecessor ends, the first at SND.UNA. Each
 * keeps when it was last sent, and those that may be in the network are linked in that order, so
 * that time-based loss detection (RFC 8985) works on the same data.
 *
 * @module
 */
import { DUP_THRESH, Rack } from "./rack.ts";
import { after, before, distance } from "./sequence.ts";

/** The receiver has it (RFC 2018). */
const SACKED = 1;
/** Taken for lost, and no retransmission is under way. */
const LOST = 2;
/** Sent more than once: no round-trip sample (Karn). */
const RETRANSMITTED = 4;
/** The last unit of the record is the FIN. */
const FIN = 8;

const SMALLEST = 8;
const NONE = -1;
// Of the two that a slot has in the order of sending.
const OLDER = 0;
const NEWER = 1;
/** Times are floats: what is due within a microsecond is due, ms. */
const ROUNDING = 0.001;

// Before the first segment is sent: the same for all, for most connections there are send few.
const NO_NUMBERS = new Int32Array(0);
const NO_TIMES = new Float64Array(0);
const NO_FLAGS = new Uint8Array(0);

export class Scoreboard {
  #end = NO_NUMBERS;
  #sentAt = NO_TIMES;
  #flags = NO_FLAGS;
  /** Of each slot two: those of the records sent before and after it, among those in the network. */
  #order = NO_NUMBERS;
  #oldest = NONE;
  #newest = NONE;
  #mask = -1;
  #head = 0;
  /** Start of the first record: SND.UNA. */
  #una = 0;
  /** Records. */
  count = 0;
  /** Of which the receiver has these out of order, bytes. */
  sackedBytes = 0;
  /** Records of which the same holds. */
  sacked = 0;
  /** Of which these are lost and wait for retransmission, bytes. */
  lostBytes = 0;
  /** Index of the last SACKed record, -1 = none. */
  #highestSacked = -1;
  /** No record before this index waits for retransmission. */
  #lostHint = 0;
  /** Every unSACKed record before this index was judged lost by {@link markLost} once. */
  #judged = 0;

  // What the last acknowledge() and sack() calls found; reset by begin().
  /** Bytes newly known to be delivered. */
  delivered = 0;
  /** Send time of the oldest record delivered now that was sent once; Infinity = none. */
  sampleSentAt = Infinity;
  /** Among them was a record that had been retransmitted. */
  retransmissionDelivered = false;
  /** Something was taken for lost. */
  lossFound = false;

  readonly rack = new Rack();
  #minimumRtt = Infinity;

  /** Starts at the first data byte. */
  reset(una: number): void {
    this.#una = una;
    this.rack.reset(una);
  }

  /** SND.NXT as far as records go. */
  get #nxt(): number {
    return this.count === 0 ? this.#una : this.#end[(this.#head + this.count - 1) & this.#mask]!;
  }

  /** RFC 6675 §4 SetPipe: bytes believed to be in the network. */
  get pipe(): number {
    return distance(this.#nxt, this.#una) - this.sackedBytes - this.lostBytes;
  }

  start(index: number): number {
    return index === 0 ? this.#una : this.#end[(this.#head + index - 1) & this.#mask]!;
  }

  end(index: number): number {
    return this.#end[(this.#head + index) & this.#mask]!;
  }

  hasFin(index: number): boolean {
    return (this.#flags[(this.#head + index) & this.#mask]! & FIN) !== 0;
  }

  wasRetransmitted(index: number): boolean {
    return (this.#flags[(this.#head + index) & this.#mask]! & RETRANSMITTED) !== 0;
  }

  /** Whether a retransmission may still be under way. */
  get hasRetransmitted(): boolean {
    for (let i = 0; i < this.count; i++) {
      const flags = this.#flags[(this.#head + i) & this.#mask]!;
      if ((flags & (RETRANSMITTED | SACKED)) === RETRANSMITTED) return true;
    }
    return false;
  }

  /** Adds the segment just sent, up to `end`. */
  push(end: number, fin: boolean, now: number): void {
    if (this.count > this.#mask) this.#grow();
    const at = (this.#head + this.count++) & this.#mask;
    this.#end[at] = end;
    this.#sentAt[at] = now;
    this.#flags[at] = fin ? FIN : 0;
    this.#link(at);
  }

  /** The record at `index` was sent again. */
  resent(index: number, now: number): void {
    const at = (this.#head + index) & this.#mask;
    const flags = this.#flags[at]!;
    if ((flags & LOST) !== 0) this.lostBytes -= distance(this.end(index), this.start(index));
    else this.#unlink(at);
    this.#flags[at] = (flags & ~LOST) | RETRANSMITTED;
    this.#sentAt[at] = now;
    this.#link(at);
    if (index === this.#lostHint) this.#lostHint++;
  }

  /** Index of the first record to retransmit, -1 = none (RFC 6675 §4 NextSeg rule 1). */
  nextLost(): number {
    if (this.lostBytes === 0) return -1;
    for (let i = this.#lostHint; i < this.count; i++) {
      if ((this.#flags[(this.#head + i) & this.#mask]! & LOST) !== 0) {
        this.#lostHint = i;
        return i;
      }
    }
    return -1;
  }

  /** Cuts the record at `index` so that its first part is `length` long (the MSS shrank). */
  split(index: number, length: number): void {
    if (this.count > this.#mask) this.#grow();
    const mask = this.#mask;
    for (let i = this.count; i > index; i--) {
      const to = (this.#head + i) & mask;
      const from = (this.#head + i - 1) & mask;
      this.#end[to] = this.#end[from]!;
      this.#sentAt[to] = this.#sentAt[from]!;
      this.#flags[to] = this.#flags[from]!;
    }
    const at = (this.#head + index) & mask;
    this.#end[at] = (this.start(index) + length) | 0;
    this.#flags[at] = this.#flags[at]! & ~FIN;
    this.count++;
    if (this.#highestSacked >= index) this.#highestSacked++;
    if (this.#judged > index) this.#judged++;
    this.#relink();
  }

  /** Before the acknowledgment and the SACK blocks of a segment. */
  begin(minimumRtt: number): void {
    this.#minimumRtt = minimumRtt;
    this.delivered = 0;
    this.sampleSentAt = Infinity;
    this.retransmissionDelivered = false;
    this.lossFound = false;
  }

  /** Everything before `una` has arrived. */
  acknowledge(una: number, now: number): void {
    let popped = 0;
    while (popped < this.count && !after(this.end(popped), una)) {
      const at = (this.#head + popped) & this.#mask;
      const flags = this.#flags[at]!;
      const size = distance(this.end(popped), this.start(popped));
      if ((flags & SACKED) !== 0) {
        this.sackedBytes -= size;
        this.sacked--;
      } else {
        if ((flags & LOST) !== 0) this.lostBytes -= size;
        else this.#unlink(at);
        this.#deliver(popped, flags, size, now);
      }
      popped++;
    }
    if (popped < this.count && after(una, this.start(popped))) {
      // In the middle of a record, as when the peer took only what its window held.
      const flags = this.#flags[(this.#head + popped) & this.#mask]!;
      const size = distance(una, this.start(popped));
      if ((flags & SACKED) !== 0) this.sackedBytes -= size;
      else {
        if ((flags & LOST) !== 0) this.lostBytes -= size;
        this.delivered += size;
      }
    }
    this.#head = (this.#head + popped) & this.#mask;
    this.count -= popped;
    this.#una = una;
    this.#highestSacked = Math.max(-1, this.#highestSacked - popped);
    this.#lostHint = Math.max(0, this.#lostHint - popped);
    this.#judged = Math.max(0, this.#judged - popped);
  }

  /** The receiver holds [left, right), which lies inside [SND.UNA, SND.NXT]. */
  sack(left: number, right: number, now: number): void {
    // Only whole records count: a receiver cannot hold what was not sent as one (RFC 6675 §4).
    let index = this.#indexFrom(left);
    for (; index < this.count && !after(this.end(index), right); index++) {
      const at = (this.#head + index) & this.#mask;
      const flags = this.#flags[at]!;
      if ((flags & SACKED) !== 0) continue;
      const size = distance(this.end(index), this.start(index));
      if ((flags & LOST) !== 0) this.lostBytes -= size;
      else this.#unlink(at);
      this.sackedBytes += size;
      this.sacked++;
      this.#deliver(index, flags, size, now);
      this.#flags[at] = (flags & ~LOST) | SACKED;
      if (index > this.#highestSacked) this.#highestSacked = index;
    }
  }

  /**
   * RFC 6675 §4 IsLost: a record is lost when DupThresh segments, or more than
   * (DupThresh - 1) · SMSS bytes, above it were SACKed.
   *
   * @returns Whether any record was marked.
   */
  markLost(mss: number): boolean {
    let above = 0;
    let segments = 0;
    let index = this.#highestSacked;
    for (; index >= this.#judged; index--) {
      if ((this.#flags[(this.#head + index) & this.#mask]! & SACKED) === 0) continue;
      above += distance(this.end(index), this.start(index));
      segments++;
      if (segments >= DUP_THRESH || above > (DUP_THRESH - 1) * mss) break;
    }
    if (index < this.#judged) return false;
    let marked = false;
    for (let i = this.#judged; i < index; i++) {
      // A retransmission went out after what was SACKed.
      if ((this.#flags[(this.#head + i) & this.#mask]! & RETRANSMITTED) !== 0) continue;
      marked = this.#lose(i) || marked;
    }
    this.#judged = index;
    return marked;
  }

  /**
   * RFC 8985 §6.2 step 5: what was sent a reordering window before something that has been
   * delivered is lost.
   *
   * @param window RACK.reo_wnd, ms.
   * @returns When the next record will have to be judged, Infinity = none pending.
   */
  markLostByTime(window: number, now: number): number {
    const { rack } = this;
    let at = this.#oldest;
    while (at !== NONE) {
      const sentAt = this.#sentAt[at]!;
      if (!rack.isOlder(sentAt, this.#end[at]!)) break;
      const due = sentAt + rack.roundTrip + window;
      if (due > now + ROUNDING) return due;
      const next = this.#order[2 * at + NEWER]!;
      this.#lose((at - this.#head) & this.#mask);
      at = next;
    }
    return Infinity;
  }

  /**
   * RFC 8985 §6.3: after a timeout the first record is lost, and what was sent so long ago that
   * it should have been delivered.
   */
  markLostByTimeout(window: number, now: number): void {
    this.#renege();
    this.loseFirst();
    const before = now - this.rack.roundTrip - window + ROUNDING;
    for (let at = this.#oldest; at !== NONE && this.#sentAt[at]! <= before;) {
      const next = this.#order[2 * at + NEWER]!;
      this.#lose((at - this.#head) & this.#mask);
      at = next;
    }
  }

  /** The first record is lost: duplicate ACKs without SACK, or a partial ACK (RFC 6582). */
  loseFirst(): void {
    if (this.count > 0) this.#lose(0);
  }

  /** After a timeout everything the receiver did not report is lost (RFC 6675 §5.1). */
  loseAll(): void {
    this.#renege();
    for (let i = 0; i < this.count; i++) this.#lose(i);
    this.#judged = this.count;
    this.#lostHint = 0;
  }

  /** The loss marks were wrong: what they covered is still in flight. */
  unmarkLost(): void {
    for (let i = 0; i < this.count; i++) {
      const at = (this.#head + i) & this.#mask;
      this.#flags[at] = this.#flags[at]! & ~LOST;
    }
    this.lostBytes = 0;
    this.#judged = 0;
    this.#relink();
  }

  /**
   * If the first record was reported and is still not acknowledged after a timeout, the receiver
   * has dropped it: its reports are void (RFC 2018 §8).
   */
  #renege(): void {
    if (this.count === 0 || (this.#flags[this.#head & this.#mask]! & SACKED) === 0) return;
    for (let i = 0; i < this.count; i++) {
      const at = (this.#head + i) & this.#mask;
      this.#flags[at] = this.#flags[at]! & ~SACKED;
    }
    this.sackedBytes = 0;
    this.sacked = 0;
    this.#highestSacked = -1;
    this.#relink();
  }

  #deliver(index: number, flags: number, size: number, now: number): void {
    this.delivered += size;
    const sentAt = this.#sentAt[(this.#head + index) & this.#mask]!;
    if ((flags & RETRANSMITTED) === 0) {
      if (sentAt < this.sampleSentAt) this.sampleSentAt = sentAt;
    } else this.retransmissionDelivered = true;
    const retransmitted = (flags & RETRANSMITTED) !== 0;
    this.rack.delivered(this.end(index), sentAt, retransmitted, this.#minimumRtt, now);
  }

  #lose(index: number): boolean {
    const at = (this.#head + index) & this.#mask;
    const flags = this.#flags[at]!;
    if ((flags & (SACKED | LOST)) !== 0) return false;
    this.#flags[at] = flags | LOST;
    this.lossFound = true;
    this.#unlink(at);
    this.lostBytes += distance(this.end(index), this.start(index));
    if (index < this.#lostHint) this.#lostHint = index;
    return true;
  }

  /** First record that starts at or behind `sequence`. */
  #indexFrom(sequence: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(this.start(middle), sequence)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #grow(): void {
    const size = Math.max(SMALLEST, 2 * (this.#mask + 1));
    const end = new Int32Array(size);
    const sentAt = new Float64Array(size);
    const flags = new Uint8Array(size);
    for (let i = 0; i < this.count; i++) {
      const at = (this.#head + i) & this.#mask;
      end[i] = this.#end[at]!;
      sentAt[i] = this.#sentAt[at]!;
      flags[i] = this.#flags[at]!;
    }
    this.#end = end;
    this.#sentAt = sentAt;
    this.#flags = flags;
    this.#order = new Int32Array(2 * size);
    this.#mask = size - 1;
    this.#head = 0;
    if (this.count > 0) this.#relink();
  }

  /** The record in slot `at` has just been sent. */
  #link(at: number): void {
    const order = this.#order;
    order[2 * at + OLDER] = this.#newest;
    order[2 * at + NEWER] = NONE;
    if (this.#newest === NONE) this.#oldest = at;
    else order[2 * this.#newest + NEWER] = at;
    this.#newest = at;
  }

  #unlink(at: number): void {
    const order = this.#order;
    const older = order[2 * at + OLDER]!;
    const newer = order[2 * at + NEWER]!;
    if (older === NONE) this.#oldest = newer;
    else order[2 * older + NEWER] = newer;
    if (newer === NONE) this.#newest = older;
    else order[2 * newer + OLDER] = older;
  }

  /** Slots have moved, or what was out of the network is in it again. */
  #relink(): void {
    const slots: number[] = [];
    for (let i = 0; i < this.count; i++) {
      const at = (this.#head + i) & this.#mask;
      if ((this.#flags[at]! & (SACKED | LOST)) === 0) slots.push(at);
    }
    // Stable: what was sent at the same time stays in order.
    slots.sort((a, b) => this.#sentAt[a]! - this.#sentAt[b]!);
    this.#oldest = NONE;
    this.#newest = NONE;
    for (const at of slots) this.#link(at);
  }
}
