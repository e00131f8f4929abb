/**
 * One binary heap for the deadlines of all peers.
 *
 * @module
 */

/** Something with timers. Its earliest one moves later far more often than earlier. */
export interface Deadline {
  /** Where the heap keeps it; -1 while it is not there. Owned by the heap. */
  heapIndex: number;
  /** The deadline the heap knows, never later than the true one. Owned by the heap. */
  heapKey: number;
  /** The true deadline in ms; Infinity for none. */
  nextDeadline(): number;
  /** Called when {@link nextDeadline} is due. Leaves no timer in the past. */
  handleTimeout(now: number): void;
}

/**
 * Arming costs O(log n), moving a deadline later nothing: the heap asks the item for its true deadline
 * when the one it knows is due.
 */
export class Deadlines {
  readonly #heap: Deadline[] = [];
  readonly #due: Deadline[] = [];

  /** Number of items that have a deadline, or had one. */
  get size(): number {
    return this.#heap.length;
  }

  /** To be called whenever a deadline of `item` has been set to `at`. */
  arm(item: Deadline, at: number): void {
    if (at >= item.heapKey) return;
    if (item.heapIndex < 0) item.heapIndex = this.#heap.push(item) - 1;
    item.heapKey = at;
    this.#up(item);
  }

  remove(item: Deadline): void {
    const index = item.heapIndex;
    if (index < 0) return;
    const last = this.#heap.pop()!;
    item.heapIndex = -1;
    item.heapKey = Infinity;
    if (last === item) return;
    this.#place(last, index);
    this.#up(last);
    this.#down(last);
  }

  /** The earliest deadline; Infinity if there is none. */
  next(): number {
    while (this.#heap.length > 0) {
      const top = this.#heap[0]!;
      const at = top.nextDeadline();
      if (at <= top.heapKey) return top.heapKey;
      if (at === Infinity) {
        this.remove(top);
      } else {
        top.heapKey = at;
        this.#down(top);
      }
    }
    return Infinity;
  }

  /** Calls every item that is due, once. */
  handleTimeout(now: number): void {
    while (this.next() <= now) {
      const item = this.#heap[0]!;
      this.remove(item);
      this.#due.push(item);
    }
    for (let item = this.#due.pop(); item !== undefined; item = this.#due.pop()) {
      item.handleTimeout(now);
      const at = item.nextDeadline();
      if (at !== Infinity) this.arm(item, at);
    }
  }

  #up(item: Deadline): void {
    let index = item.heapIndex;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#heap[parentIndex]!;
      if (parent.heapKey <= item.heapKey) break;
      this.#place(parent, index);
      index = parentIndex;
    }
    this.#place(item, index);
  }

  #down(item: Deadline): void {
    let index = item.heapIndex;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= this.#heap.length) break;
      if (
        childIndex + 1 < this.#heap.length &&
        this.#heap[childIndex + 1]!.heapKey < this.#heap[childIndex]!.heapKey
      ) {
        childIndex++;
      }
      const child = this.#heap[childIndex]!;
      if (child.heapKey >= item.heapKey) break;
      this.#place(child, index);
      index = childIndex;
    }
    this.#place(item, index);
  }

  #place(item: Deadline, index: number): void {
    this.#heap[index] = item;
    item.heapIndex = index;
  }
}
