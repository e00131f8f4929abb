/** Something that wants to be called at a time. */
export interface Timed {
  /** Position in the heap; -1 when not in it. Owned by {@link Deadlines}. */
  heapIndex: number;
  /** The time the heap sorts it by, ms. Owned by {@link Deadlines}. */
  heapKey: number;
  /** When it is really due, ms; Infinity = not at all. May be moved later at any time, without telling. */
  deadline: number;
}

/**
 * A binary heap of deadlines. A deadline that moves later stays where it is until it comes up: a
 * retransmission timer that is restarted by every ACK costs a number.
 */
export class Deadlines<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** Takes note of `item.deadline`. To be called when it was set or moved earlier. */
  update(item: T): void {
    if (item.heapIndex < 0) {
      if (item.deadline === Infinity) return;
      item.heapKey = item.deadline;
      item.heapIndex = this.#heap.length;
      this.#heap.push(item);
      this.#up(item.heapIndex);
    } else if (item.deadline < item.heapKey) {
      item.heapKey = item.deadline;
      this.#up(item.heapIndex);
    }
  }

  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#heap.pop()!;
    if (last === item) return;
    this.#place(last, index);
    this.#up(index);
    this.#down(last.heapIndex);
  }

  /** Earliest deadline, ms, or earlier; Infinity if there is none. */
  next(): number {
    return this.#settle()?.deadline ?? Infinity;
  }

  /** Takes out one item that is due, or undefined. */
  popDue(now: number): T | undefined {
    const first = this.#settle();
    if (first === undefined || first.deadline > now) return undefined;
    this.remove(first);
    return first;
  }

  /** Brings what was moved later to its place, until the top is what it says. */
  #settle(): T | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.deadline <= first.heapKey) return first;
      if (first.deadline === Infinity) {
        this.remove(first);
      } else {
        first.heapKey = first.deadline;
        this.#down(0);
      }
    }
  }

  #up(index: number): void {
    const heap = this.#heap;
    const item = heap[index]!;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const other = heap[parent]!;
      if (other.heapKey <= item.heapKey) break;
      this.#place(other, index);
      index = parent;
    }
    this.#place(item, index);
  }

  #down(index: number): void {
    const heap = this.#heap;
    const item = heap[index]!;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.heapKey < heap[child]!.heapKey) child++;
      const other = heap[child]!;
      if (other.heapKey >= item.heapKey) break;
      this.#place(other, index);
      index = child;
    }
    this.#place(item, index);
  }

  #place(item: T, index: number): void {
    this.#heap[index] = item;
    item.heapIndex = index;
  }
}
