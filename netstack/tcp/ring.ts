/**
 * The byte queue of one direction of a connection.
 *
 * @module
 */

import { copyBytes } from "../bytes.ts";
import type { MemoryAccount } from "../memory_budget.ts";
import { type RingMemory, SMALLEST } from "./ring_memory.ts";

/**
 * A byte queue in a circular buffer that takes memory only as bytes come, doubling, and that can be
 * written ahead of its end, which is where out-of-order data waits.
 */
export class Ring {
  /** Bytes of memory held: none, or a power of two. */
  capacity = 0;
  /** Bytes queued. */
  length = 0;
  /** What its connection has moved, as a claim on memory: see `MemoryBudget.earned`. */
  earned = 0;
  readonly #memory: RingMemory;
  readonly #account: MemoryAccount;
  #bytes: Uint8Array = EMPTY;
  /** Where in them the memory begins. */
  #base = 0;
  /** Position of the first byte. */
  #head = 0;

  /** @param account Who the memory is for. */
  constructor(memory: RingMemory, account: MemoryAccount) {
    this.#memory = memory;
    this.#account = account;
  }

  /**
   * Makes room for `needed` bytes from the first one on, or for as many as there is memory for.
   *
   * @param isPromised The peer was told of it: see {@link MemoryAccount.take}.
   * @returns For how many there is room.
   */
  reserve(needed: number, isPromised: boolean): number {
    const { capacity } = this;
    if (needed <= capacity) return needed;
    let size = Math.max(SMALLEST, capacity);
    while (size < needed) size *= 2;
    while (size > capacity && !this.#account.take(size - capacity, size, isPromised, this.earned)) {
      size /= 2;
    }
    if (size > capacity) this.#resize(size, capacity);
    return Math.min(needed, this.capacity);
  }

  /** Appends. There is {@link reserve}d room. */
  write(from: Uint8Array, offset: number, length: number): void {
    this.writeAt(this.length, from, offset, length);
    this.length += length;
  }

  /** Puts bytes `ahead` behind the first one, without making them part of the queue. */
  writeAt(ahead: number, from: Uint8Array, offset: number, length: number): void {
    if (length === 0) return;
    const bytes = this.#bytes;
    const base = this.#base;
    const position = (this.#head + ahead) & (this.capacity - 1);
    const first = Math.min(length, this.capacity - position);
    copyBytes(from, offset, bytes, base + position, first);
    if (first < length) copyBytes(from, offset + first, bytes, base, length - first);
  }

  /** Makes `length` bytes that {@link writeAt} put behind the end part of the queue. */
  advance(length: number): void {
    this.length += length;
  }

  /** Copies out `length` bytes from `ahead` on; they stay queued. */
  peek(ahead: number, into: Uint8Array, offset: number, length: number): void {
    if (length === 0) return;
    const bytes = this.#bytes;
    const base = this.#base;
    const position = (this.#head + ahead) & (this.capacity - 1);
    const first = Math.min(length, this.capacity - position);
    copyBytes(bytes, base + position, into, offset, first);
    if (first < length) copyBytes(bytes, base, into, offset + first, length - first);
  }

  /** Drops the first `length` bytes. */
  discard(length: number): void {
    this.#head = (this.#head + length) & (this.capacity - 1);
    this.length -= length;
  }

  /** The most it may have now, bytes: a power of two, or Infinity while there is plenty. */
  get limit(): number {
    return this.#account.limitFor(this.earned);
  }

  /** Gives back memory that is not needed for the first `extent` bytes. */
  shrink(extent: number): void {
    if (extent === 0) return this.clear();
    let size = SMALLEST;
    while (size < extent) size *= 2;
    if (size >= this.capacity) return;
    this.#account.charge(size - this.capacity);
    this.#resize(size, extent);
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    if (this.capacity === 0) return;
    this.#account.charge(-this.capacity);
    this.#give();
    this.#bytes = EMPTY;
    this.capacity = 0;
    this.#base = 0;
    this.#head = 0;
    this.length = 0;
  }

  /** Moves to a block of another size, with the first `extent` bytes, queued or not. */
  #resize(size: number, extent: number): void {
    const { capacity } = this;
    const taken = this.#memory.take(size);
    const bytes = taken < 0 ? this.#memory.takeBuffer(size) : this.#memory.shared;
    const base = taken < 0 ? 0 : taken;
    const head = this.#head;
    const first = Math.min(extent, capacity - head);
    copyBytes(this.#bytes, this.#base + head, bytes, base, first);
    copyBytes(this.#bytes, this.#base, bytes, base + first, extent - first);
    this.#give();
    this.#bytes = bytes;
    this.#base = base;
    this.#head = 0;
    this.capacity = size;
  }

  #give(): void {
    if (this.capacity === 0) return;
    if (this.#bytes === this.#memory.shared) this.#memory.give(this.#base, this.capacity);
    else this.#memory.giveBuffer(this.#bytes);
  }
}

const EMPTY = new Uint8Array(0);
