/**
 * A hash table of numbers: of the rows of another table.
 *
 * @module
 */

import { enlarged } from "./shares.ts";

/** Rows by a hash of what they are looked up by, and which rows are free. Grows as it is filled. */
export class RowIndex {
  /** The next row with a hash that falls in the same place, -1 after the last; of a free row too. */
  next = new Int32Array(0);
  #hashes = new Int32Array(0);
  /** Rows plus one, so that zero is none. */
  #heads = new Int32Array(0);
  #free = -1;
  #count = 0;

  /** Rows there is room for. */
  get size(): number {
    return this.next.length;
  }

  /** Rows in use. */
  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#free < 0;
  }

  /** The first row to look at, -1 = none. */
  first(hash: number): number {
    const { length } = this.#heads;
    return length === 0 ? -1 : this.#heads[hash & length - 1]! - 1;
  }

  /** Takes a free row. */
  add(hash: number): number {
    const row = this.#free;
    this.#free = this.next[row]!;
    this.#hashes[row] = hash;
    this.#enter(row);
    this.#count++;
    return row;
  }

  remove(row: number): void {
    const place = this.#hashes[row]! & this.#heads.length - 1;
    let at = this.#heads[place]! - 1;
    if (at === row) this.#heads[place] = this.next[row]! + 1;
    else {
      while (this.next[at] !== row) at = this.next[at]!;
      this.next[at] = this.next[row]!;
    }
    this.next[row] = this.#free;
    this.#free = row;
    this.#count--;
  }

  /** @param size A power of two, larger than before. All rows must be in use. */
  grow(size: number): void {
    const before = this.size;
    this.next = enlarged(this.next, size);
    this.#hashes = enlarged(this.#hashes, size);
    this.#heads = new Int32Array(size);
    for (let row = 0; row < before; row++) this.#enter(row);
    for (let row = size - 1; row >= before; row--) {
      this.next[row] = this.#free;
      this.#free = row;
    }
  }

  #enter(row: number): void {
    const place = this.#hashes[row]! & this.#heads.length - 1;
    this.next[row] = this.#heads[place]! - 1;
    this.#heads[place] = row + 1;
  }
}

/** Rows to begin with. */
export const FIRST_ROWS = 64;
