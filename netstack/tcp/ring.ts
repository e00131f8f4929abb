import { copyBytes } from "../bytes.ts";
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
  readonly #memory: RingMemory;
  #bytes: Uint8Array = EMPTY;
  /** Where in them the memory begins. */
  #base = 0;
  /** Position of the first byte. */
  #head = 0;

  constructor(memory: RingMemory) {
    this.#memory = memory;
  }

  /** Appends. The caller has checked its own limit. */
  write(from: Uint8Array, offset: number, length: number): void {
    this.writeAt(this.length, from, offset, length);
    this.length += length;
  }

  /** Puts bytes `ahead` behind the first one, without making them part of the queue. */
  writeAt(ahead: number, from: Uint8Array, offset: number, length: number): void {
    if (length === 0) return;
    if (ahead + length > this.capacity) this.#reserve(ahead + length);
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

  /** Forgets everything and gives the memory back. */
  clear(): void {
    this.#give();
    this.#bytes = EMPTY;
    this.capacity = 0;
    this.#base = 0;
    this.#head = 0;
    this.length = 0;
  }

  #reserve(needed: number): void {
    const { capacity } = this;
    let size = Math.max(SMALLEST, capacity);
    while (size < needed) size *= 2;
    const taken = this.#memory.take(size);
    const bytes = taken < 0 ? this.#memory.takeBuffer(size) : this.#memory.shared;
    const base = taken < 0 ? 0 : taken;
    // Bytes written ahead of the end move too, so everything does.
    const head = this.#head;
    copyBytes(this.#bytes, this.#base + head, bytes, base, capacity - head);
    copyBytes(this.#bytes, this.#base, bytes, base + capacity - head, head);
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
