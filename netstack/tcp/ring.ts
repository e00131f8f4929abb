import { copyBytes } from "../bytes.ts";

/** Storage of a ring that has to hold anything at all. */
const SMALLEST = 2_048;

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
    this.#bytes = EMPTY;
    this.#head = 0;
    this.length = 0;
  }

  #reserve(needed: number): void {
    const capacity = this.#bytes.length;
    if (needed <= capacity) return;
    let size = Math.max(SMALLEST, capacity);
    while (size < needed) size *= 2;
    const grown = new Uint8Array(size);
    // Bytes written ahead of the end move too, so everything does.
    grown.set(this.#bytes.subarray(this.#head), 0);
    grown.set(this.#bytes.subarray(0, this.#head), capacity - this.#head);
    this.#bytes = grown;
    this.#head = 0;
  }
}

const EMPTY = new Uint8Array(0);
