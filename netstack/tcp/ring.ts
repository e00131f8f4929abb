import { copyBytes } from "../bytes.ts";

/** Storage of a ring that has to hold anything at all. */
const SMALLEST = 2_048;

/** Storage kept for the next rings, bytes of all sizes together. */
const KEPT = 16 << 20;

/**
 * Storage that rings gave back, by size. A thousand short connections a second would otherwise
 * leave the collector tens of megabytes to find, and a process that only grows.
 */
class RingMemory {
  /** By the power of two that the size is. */
  readonly #free: Uint8Array[][] = Array.from({ length: 32 }, () => []);
  #kept = 0;

  take(size: number): Uint8Array {
    const bytes = this.#free[31 - Math.clz32(size)]!.pop();
    if (bytes === undefined) return new Uint8Array(size);
    this.#kept -= size;
    return bytes;
  }

  give(bytes: Uint8Array): void {
    const size = bytes.length;
    if (size === 0 || this.#kept + size > KEPT) return;
    this.#kept += size;
    this.#free[31 - Math.clz32(size)]!.push(bytes);
  }
}

const MEMORY = new RingMemory();

/**
 * A byte queue in a circular buffer that takes memory only as bytes come, doubling, and that can be
 * written ahead of its end, which is where out-of-order data waits.
 */
export class Ring {
  #bytes: Uint8Array = EMPTY;
  /** Position of the first byte. */
  #head = 0;
  /** Bytes queued. */
  length = 0;

  /** Bytes of memory held. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** Appends. The caller has checked its own limit. */
  write(from: Uint8Array, offset: number, length: number): void {
    this.writeAt(this.length, from, offset, length);
    this.length += length;
  }

  /** Puts bytes `ahead` behind the first one, without making them part of the queue. */
  writeAt(ahead: number, from: Uint8Array, offset: number, length: number): void {
    if (length === 0) return;
    this.#reserve(ahead + length);
    const capacity = this.#bytes.length;
    const position = (this.#head + ahead) & (capacity - 1);
    const first = Math.min(length, capacity - position);
    copyBytes(from, offset, this.#bytes, position, first);
    if (first < length) copyBytes(from, offset + first, this.#bytes, 0, length - first);
  }

  /** Makes `length` bytes that {@link writeAt} put behind the end part of the queue. */
  advance(length: number): void {
    this.length += length;
  }

  /** Copies out `length` bytes from `ahead` on; they stay queued. */
  peek(ahead: number, into: Uint8Array, offset: number, length: number): void {
    if (length === 0) return;
    const capacity = this.#bytes.length;
    const position = (this.#head + ahead) & (capacity - 1);
    const first = Math.min(length, capacity - position);
    copyBytes(this.#bytes, position, into, offset, first);
    if (first < length) copyBytes(this.#bytes, 0, into, offset + first, length - first);
  }

  /** Drops the first `length` bytes. */
  discard(length: number): void {
    this.#head = (this.#head + length) & (this.#bytes.length - 1);
    this.length -= length;
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    MEMORY.give(this.#bytes);
    this.#bytes = EMPTY;
    this.#head = 0;
    this.length = 0;
  }

  #reserve(needed: number): void {
    const capacity = this.#bytes.length;
    if (needed <= capacity) return;
    let size = Math.max(SMALLEST, capacity);
    while (size < needed) size *= 2;
    const grown = MEMORY.take(size);
    // Bytes written ahead of the end move too, so everything does.
    grown.set(this.#bytes.subarray(this.#head), 0);
    grown.set(this.#bytes.subarray(0, this.#head), capacity - this.#head);
    MEMORY.give(this.#bytes);
    this.#bytes = grown;
    this.#head = 0;
  }
}

const EMPTY = new Uint8Array(0);
