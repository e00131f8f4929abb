/**
 * Blocks of pcapng between one who must not wait and one who may be slow. A block lies in one piece,
 * and blocks are taken whole, as many at a time as lie one behind the other.
 *
 * @module
 */

/** Where a block has its length: behind its type. */
const LENGTH_OFFSET = 4;

export class BlockRing {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  /** Where the next block is taken, and where the next is put. */
  #head = 0;
  #tail = 0;
  /** Where the blocks at the end stop, while there are blocks at the beginning behind them; else -1. */
  #wrap = -1;
  #isLent = false;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  get isEmpty(): boolean {
    return this.waiting === 0;
  }

  /** Bytes that wait. */
  get waiting(): number {
    return this.#wrap < 0 ? this.#tail - this.#head : this.#wrap - this.#head + this.#tail;
  }

  /** @returns where a block of `length` bytes goes, to be written and then {@link commit}ted; or -1. */
  reserve(length: number): number {
    if (this.#wrap >= 0) return this.#head - this.#tail >= length ? this.#tail : -1;
    if (this.#head === this.#tail && !this.#isLent) this.#head = this.#tail = 0;
    if (this.bytes.length - this.#tail >= length) return this.#tail;
    if (this.#head < length) return -1;
    this.#wrap = this.#tail;
    this.#tail = 0;
    return 0;
  }

  /** The block that was reserved is written. */
  commit(length: number): void {
    this.#tail += length;
  }

  /**
   * Blocks that may be taken now: some `most` bytes of them, one at least if there is one. They are not
   * overwritten until {@link consume}.
   */
  peek(most: number): Uint8Array<ArrayBuffer> {
    this.#unwrap();
    const end = this.#wrap < 0 ? this.#tail : this.#wrap;
    let to = this.#head;
    while (to < end && to - this.#head < most) {
      to += this.view.getUint32(to + LENGTH_OFFSET, true);
    }
    this.#isLent = true;
    return this.bytes.subarray(this.#head, to);
  }

  /** What {@link peek} gave, `length` bytes, has been taken. */
  consume(length: number): void {
    this.#isLent = false;
    this.#head += length;
    this.#unwrap();
  }

  #unwrap(): void {
    if (this.#head !== this.#wrap) return;
    this.#head = 0;
    this.#wrap = -1;
  }
}
