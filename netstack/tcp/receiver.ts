/**
 * The receiving half of a connection.
 *
 * @module
 */

import type { MemoryAccount } from "../memory_budget.ts";
import { Ring } from "./ring.ts";
import type { RingMemory } from "./ring_memory.ts";
import { after, before, distance, latest } from "./sequence.ts";
import type { TcpSettings } from "./settings.ts";

/** Bits of what {@link Receiver.accept} did. */
export const ADVANCED = 1;
/** An ACK is due at once: a gap, a gap closed, or a duplicate (RFC 5681 §4.2). */
export const ACK_AT_ONCE = 2;
/** Every byte and the FIN have arrived. */
export const FINISHED = 4;

/** SACK blocks remembered by recency (RFC 2018 §4): what a few ACKs can carry. */
const RECENT = 12;
/** The receiving half of a connection: reassembly, the window, SACK blocks. */
export class Receiver {
  readonly #settings: TcpSettings;
  /**
   * In-order bytes that were not read yet. Out-of-order ones lie behind its end, at their final
   * place: together never more than {@link limit}. Data inside the announced window is dropped only
   * when there is no memory left at all.
   */
  readonly ring: Ring;
  /** RCV.NXT */
  next = 0;
  /** Right edge of the window as announced. Never moves left (RFC 9293 §3.8.6.2.2). */
  edge = 0;
  /** What the window may hold now; grows to the setting while the application keeps up. */
  limit: number;
  /** Of windows we announce. */
  scale = 0;
  /** Largest payload received: the peer's segment size. */
  segmentSize = 536;
  /** The FIN has been taken in order. */
  finished = false;
  #finAt = 0;
  #finSeen = false;

  /** Ranges out of order, ascending, apart from each other. */
  #left = EMPTY;
  #right = EMPTY;
  ranges = 0;
  /** A sequence number in each range that changed lately, newest first. */
  #recent = EMPTY;
  #recentCount = 0;
  /** The duplicate to report in front (RFC 2883). */
  duplicateLeft = 0;
  duplicateRight = 0;
  hasDuplicate = false;

  /** Segments dropped because of the limit on ranges out of order. */
  pruned = 0;
  /** Segments dropped, or cut, because there was no memory for them. */
  dropped = 0;

  #readInRound = 0;
  #roundStart = -Infinity;

  constructor(settings: TcpSettings, memory: RingMemory, account: MemoryAccount) {
    this.#settings = settings;
    this.ring = new Ring(memory, account);
    const { initialBuffer, receiveBuffer } = settings;
    this.limit = Math.min(initialBuffer, receiveBuffer, account.bufferLimit);
  }

  /** The peer's SYN had the sequence number before `next`. */
  start(next: number, scale: number): void {
    this.next = next;
    this.scale = scale;
    this.limit = Math.max(this.limit, this.#leastLimit);
    this.edge = (next + Math.min(0xffff, this.limit)) | 0;
  }

  /** RCV.WND as the peer knows it. */
  get window(): number {
    return Math.max(0, distance(this.edge, this.next));
  }

  /**
   * Takes the data and FIN of a segment that passed the acceptance test.
   *
   * @param sequence Of the first byte at `offset`.
   * @returns {@link ADVANCED}, {@link ACK_AT_ONCE}, {@link FINISHED}.
   */
  accept(
    sequence: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    fin: boolean,
  ): number {
    if (length > this.segmentSize) this.segmentSize = length;
    const skip = distance(this.next, sequence);
    if (skip > 0) {
      this.#noteDuplicate(sequence, Math.min(skip, length));
      if (skip > length || (skip === length && !fin)) return ACK_AT_ONCE;
      offset += skip;
      length -= skip;
      sequence = this.next;
    }
    const room = distance(this.edge, sequence);
    if (length > room) {
      length = Math.max(0, room);
      fin = false;
      if (length === 0) return ACK_AT_ONCE;
    }
    if (fin) {
      this.#finSeen = true;
      this.#finAt = (sequence + length) | 0;
    }
    if (sequence !== this.next) return this.#acceptAhead(sequence, buffer, offset, length);

    let result = skip > 0 ? ACK_AT_ONCE : 0;
    if (length > 0) {
      const room = this.ring.reserve(this.ring.length + length, true) - this.ring.length;
      if (room < length) {
        this.dropped++;
        result = ACK_AT_ONCE;
        length = room;
      }
    }
    if (length > 0) {
      this.ring.write(buffer, offset, length);
      this.next = (this.next + length) | 0;
      result |= ADVANCED;
      if (this.ranges > 0) {
        this.#takeRanges();
        result |= ACK_AT_ONCE;
      }
    }
    return result | this.#checkFin();
  }

  /** Copies out at most `length` bytes. @returns How many. */
  read(into: Uint8Array, offset: number, length: number): number {
    const taken = Math.min(length, this.ring.length);
    if (taken === 0) return 0;
    this.ring.peek(0, into, offset, taken);
    this.ring.discard(taken);
    this.#readInRound += taken;
    return taken;
  }

  /** Drops what {@link read} would give. */
  discard(): void {
    this.ring.discard(this.ring.length);
  }

  /**
   * Dynamic right-sizing: if the application takes more than half the window per round trip, the
   * window is what limits the peer.
   */
  tune(roundTrip: number, now: number): void {
    if (now - this.#roundStart < roundTrip) return;
    if (2 * this.#readInRound > this.limit) {
      this.limit = Math.min(this.#settings.receiveBuffer, 2 * this.limit);
    }
    const most = this.ring.limit;
    if (most < this.limit) this.limit = Math.max(this.#leastLimit, most);
    this.#roundStart = now;
    this.#readInRound = 0;
  }

  /**
   * Whether enough room appeared to tell the peer (RFC 9293 §3.8.6.2.2): not while it still has
   * half the window, which the next ACK will widen anyway.
   */
  get updateDue(): boolean {
    if (this.finished || 2 * this.window > this.limit) return false;
    const gain = distance(this.#target(), this.edge);
    return gain >= Math.min(this.limit >> 1, 2 * this.segmentSize);
  }

  /** Moves the right edge as far as it may go. @returns The window field of a segment leaving now. */
  announce(): number {
    const target = this.#target();
    // Silly window avoidance: in steps of a segment or half the buffer, or not at all.
    if (distance(target, this.edge) >= Math.min(this.limit >> 1, this.segmentSize)) {
      const shown = Math.min(0xffff, distance(target, this.next) >> this.scale);
      this.edge = latest(this.edge, (this.next + (shown << this.scale)) | 0);
      return shown;
    }
    return Math.min(0xffff, this.window >> this.scale);
  }

  /**
   * Writes the blocks to report, most recent first (RFC 2018 §4, RFC 2883 §4).
   *
   * @param skip Blocks left out, the most recent ones.
   * @returns How many.
   */
  sackBlocks(edges: Int32Array, most: number, skip: number): number {
    if (skip > 0) return this.#recentBlocks(edges, 0, most, skip);
    let count = 0;
    if (this.hasDuplicate) {
      edges[0] = this.duplicateLeft;
      edges[1] = this.duplicateRight;
      count = 1;
      this.hasDuplicate = false;
    }
    return this.#recentBlocks(edges, count, most, 0);
  }

  /** Memory is short. The window closes as data comes: what was announced stays announced. */
  shrink(): void {
    const { ring, ranges } = this;
    const most = ring.limit;
    this.limit = Math.min(this.limit, Math.max(this.#leastLimit, most));
    const ahead = ranges === 0 ? 0 : distance(this.#right[ranges - 1]!, this.next);
    const extent = ring.length + ahead;
    if (extent === 0 || most < Infinity) ring.shrink(extent);
  }

  /** Gives back the memory of an empty buffer, and starts small again; the window may stay. */
  trim(): void {
    if (this.ring.length > 0 || this.ranges > 0) return;
    this.clear();
    this.limit = Math.min(this.#settings.initialBuffer, this.#settings.receiveBuffer);
  }

  /** Nobody will read any more. */
  clear(): void {
    this.ring.clear();
    this.ranges = 0;
    this.#recentCount = 0;
    this.#left = EMPTY;
    this.#right = EMPTY;
  }

  /**
   * Two units of the window scale: a window below one unit is announced as 0, so with two, reading
   * one opens the window again.
   */
  get #leastLimit(): number {
    return this.scale > 0 ? 2 << this.scale : 1;
  }

  #target(): number {
    return (this.next + Math.max(0, this.limit - this.ring.length)) | 0;
  }

  /** Appends blocks behind the first `count`. @returns How many there are then. */
  #recentBlocks(edges: Int32Array, count: number, most: number, skip: number): number {
    for (let i = skip; i < this.#recentCount && count < most; i++) {
      const at = this.#rangeOf(this.#recent[i]!);
      // Ranges that grew together are reported once.
      if (at < 0 || this.#isReported(at, i)) continue;
      edges[2 * count] = this.#left[at]!;
      edges[2 * count + 1] = this.#right[at]!;
      count++;
    }
    return count;
  }

  /** Whether one of the first `count` recent ranges is that at `at`. */
  #isReported(at: number, count: number): boolean {
    const left = this.#left[at]!;
    const right = this.#right[at]!;
    for (let i = 0; i < count; i++) {
      const recent = this.#recent[i]!;
      if (!before(recent, left) && before(recent, right)) return true;
    }
    return false;
  }

  #acceptAhead(sequence: number, buffer: Uint8Array, offset: number, length: number): number {
    if (length === 0) return ACK_AT_ONCE;
    const settings = this.#settings;
    const end = (sequence + length) | 0;
    const ahead = this.ring.length + distance(sequence, this.next);
    if (this.ring.reserve(ahead + length, true) < ahead + length) {
      this.dropped++;
      return ACK_AT_ONCE;
    }
    // First range that ends at or behind the start of the new one.
    let from = this.ranges;
    while (from > 0 && !before(this.#right[from - 1]!, sequence)) from--;
    let to = from;
    let left = sequence;
    let right = end;
    while (to < this.ranges && !after(this.#left[to]!, end)) {
      if (before(this.#left[to]!, left)) left = this.#left[to]!;
      right = latest(right, this.#right[to]!);
      to++;
    }
    if (to === from) {
      if (this.ranges >= settings.maxOutOfOrderRanges) {
        this.pruned++;
        return ACK_AT_ONCE;
      }
      this.#openRange(from);
    } else {
      if (!before(sequence, this.#left[from]!) && !after(end, this.#right[from]!)) {
        this.#noteDuplicate(sequence, length);
      }
      this.#closeRanges(from + 1, to);
    }
    this.#left[from] = left;
    this.#right[from] = right;
    this.#remember(sequence);
    this.ring.writeAt(ahead, buffer, offset, length);
    return ACK_AT_ONCE;
  }

  #checkFin(): number {
    if (!this.#finSeen || this.finished || this.next !== this.#finAt) return 0;
    this.finished = true;
    this.next = (this.next + 1) | 0;
    return FINISHED | ACK_AT_ONCE;
  }

  /** Ranges that RCV.NXT has reached become part of the queue. */
  #takeRanges(): void {
    let taken = 0;
    while (taken < this.ranges && !after(this.#left[taken]!, this.next)) {
      const right = this.#right[taken]!;
      const gain = distance(right, this.next);
      if (gain > 0) {
        this.ring.advance(gain);
        this.next = right;
      }
      taken++;
    }
    this.#closeRanges(0, taken);
    if (this.ranges === 0) this.#recentCount = 0;
  }

  #openRange(at: number): void {
    if (this.ranges === this.#left.length) {
      const size = Math.max(4, 2 * this.ranges);
      const left = new Int32Array(size);
      const right = new Int32Array(size);
      left.set(this.#left);
      right.set(this.#right);
      this.#left = left;
      this.#right = right;
    }
    for (let i = this.ranges; i > at; i--) {
      this.#left[i] = this.#left[i - 1]!;
      this.#right[i] = this.#right[i - 1]!;
    }
    this.ranges++;
  }

  /** Removes the ranges [from, to). */
  #closeRanges(from: number, to: number): void {
    const removed = to - from;
    if (removed <= 0) return;
    for (let i = to; i < this.ranges; i++) {
      this.#left[i - removed] = this.#left[i]!;
      this.#right[i - removed] = this.#right[i]!;
    }
    this.ranges -= removed;
  }

  #rangeOf(sequence: number): number {
    for (let i = 0; i < this.ranges; i++) {
      if (before(sequence, this.#left[i]!)) return -1;
      if (before(sequence, this.#right[i]!)) return i;
    }
    return -1;
  }

  #remember(sequence: number): void {
    const range = this.#rangeOf(sequence);
    // One place per range: the new one takes that of an older report about the same range.
    let place = this.#recentCount < RECENT ? this.#recentCount : RECENT - 1;
    for (let i = 0; i < this.#recentCount; i++) {
      if (this.#rangeOf(this.#recent[i]!) === range) {
        place = i;
        break;
      }
    }
    if (this.#recent.length === 0) this.#recent = new Int32Array(RECENT);
    if (place === this.#recentCount) this.#recentCount++;
    for (let i = place; i > 0; i--) this.#recent[i] = this.#recent[i - 1]!;
    this.#recent[0] = sequence;
  }

  #noteDuplicate(sequence: number, length: number): void {
    if (length === 0) return;
    this.duplicateLeft = sequence;
    this.duplicateRight = (sequence + length) | 0;
    this.hasDuplicate = true;
  }
}

const EMPTY = new Int32Array(0);
