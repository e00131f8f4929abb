/**
 * Memory for bytes that connections have queued for sending or reading.
 *
 * @module
 */

import { LEAST_BUFFER } from "../memory_budget.ts";

/** A piece of a buffer that somebody else owns. */
export interface MemoryRegion {
  /** Must not move or grow. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** The smallest block, bytes. All sizes are powers of two. */
export const SMALLEST = LEAST_BUFFER;
const SMALLEST_LOG2 = 31 - Math.clz32(SMALLEST);

/** Blocks of their own that are kept for the next rings, bytes of all sizes together. */
const KEPT = 16 << 20;
const NONE = -1;

/**
 * Blocks of memory for rings: from one shared region while it lasts, then separate buffers.
 *
 * If the region is part of the buffer that packets are in, data moves between packets and rings
 * within one buffer, the only fast copy that allocates nothing. It also spares the garbage collector:
 * a thousand short connections per second would otherwise leave tens of megabytes of garbage, and the
 * process would only grow.
 *
 * The region is divided as a buddy system: a block is halved until it has the size that is asked
 * for, and two free halves become one again.
 */
export class RingMemory {
  /** The region's buffer; offsets in it are what {@link take} gives. */
  readonly shared: Uint8Array;
  readonly #start: number;
  /** Whole smallest blocks. */
  readonly #units: number;
  /** By unit: log2 of the free block's units that begins there, plus 1; 0 = none does. */
  readonly #freeAt: Uint8Array;
  /** Free blocks of one size are a list: the first by log2 of units, the neighbours by unit. */
  readonly #first: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Bytes in use, of the region and of buffers. */
  used = 0;
  /** Buffers that rings gave back, by log2 of their size. */
  readonly #kept: Uint8Array[][] = Array.from({ length: 32 }, () => []);
  #keptBytes = 0;
  readonly #mostKept: number;

  /**
   * @param region Default: none, every ring has a buffer of its own.
   * @param kept Buffers that stay for the next rings, bytes; default 16 MiB.
   */
  constructor(
    region: MemoryRegion = { memory: new Uint8Array(0), offset: 0, length: 0 },
    kept = KEPT,
  ) {
    this.#mostKept = kept;
    this.shared = region.memory;
    this.#start = region.offset;
    this.#units = Math.floor(region.length / SMALLEST);
    this.#freeAt = new Uint8Array(this.#units);
    this.#first = new Int32Array(32).fill(NONE);
    this.#next = new Int32Array(this.#units);
    this.#previous = new Int32Array(this.#units);
    for (let unit = 0; unit < this.#units;) {
      // The largest block that is aligned to its size and fits.
      const aligned = unit === 0 ? 31 : 31 - Math.clz32(unit & -unit);
      const order = Math.min(aligned, 31 - Math.clz32(this.#units - unit));
      this.#insert(unit, order);
      unit += 1 << order;
    }
  }

  /**
   * @param size A power of two, at least {@link SMALLEST}.
   * @returns Where in {@link shared} a block begins, or -1 if none is free: see {@link takeBuffer}.
   */
  take(size: number): number {
    const order = orderOf(size);
    let found = order;
    while (found < 32 && this.#first[found] === NONE) found++;
    if (found >= 32) return -1;
    const unit = this.#first[found]!;
    this.#remove(unit, found);
    while (found > order) {
      found--;
      this.#insert(unit + (1 << found), found);
    }
    this.used += size;
    return this.#start + unit * SMALLEST;
  }

  /** Gives a block of {@link take} back. */
  give(offset: number, size: number): void {
    this.used -= size;
    let unit = (offset - this.#start) / SMALLEST;
    let order = orderOf(size);
    for (;;) {
      const buddy = unit ^ 1 << order;
      if (buddy >= this.#units || this.#freeAt[buddy] !== order + 1) break;
      this.#remove(buddy, order);
      unit = Math.min(unit, buddy);
      order++;
    }
    this.#insert(unit, order);
  }

  /** A buffer of its own, for when {@link take} has none. */
  takeBuffer(size: number): Uint8Array {
    this.used += size;
    const buffer = this.#kept[31 - Math.clz32(size)]!.pop();
    if (buffer === undefined) return new Uint8Array(size);
    this.#keptBytes -= size;
    return buffer;
  }

  giveBuffer(buffer: Uint8Array): void {
    const size = buffer.length;
    this.used -= size;
    if (this.#keptBytes + size > this.#mostKept) return;
    this.#keptBytes += size;
    this.#kept[31 - Math.clz32(size)]!.push(buffer);
  }

  #insert(unit: number, order: number): void {
    const next = this.#first[order]!;
    this.#freeAt[unit] = order + 1;
    this.#next[unit] = next;
    this.#previous[unit] = NONE;
    if (next !== NONE) this.#previous[next] = unit;
    this.#first[order] = unit;
  }

  #remove(unit: number, order: number): void {
    const next = this.#next[unit]!;
    const previous = this.#previous[unit]!;
    this.#freeAt[unit] = 0;
    if (next !== NONE) this.#previous[next] = previous;
    if (previous !== NONE) this.#next[previous] = next;
    else this.#first[order] = next;
  }
}

/** log2 of the smallest blocks in `size`. */
function orderOf(size: number): number {
  return 31 - Math.clz32(size) - SMALLEST_LOG2;
}
