/**
 * One binary heap for the deadlines of many items. The one in `wireguard/` asks its items, which
 * have several timers each; here an item has one deadline, set explicitly.
 *
 * @module
 */

/** What {@link Deadlines} keeps on the items it orders. */
export interface Timed {
  /** When the item is due, ms. Changed only through {@link Deadlines.set}. Starts as Infinity. */
  deadline: number;
  /** Place in the heap, -1 = not in it. Starts as -1. */
  heapIndex: number;
}

/**
 * Which of many items is due next: a binary heap.
 *
 * Moving a deadline later costs nothing until the item comes to the top; that is the common case of
 * a retransmission timer that every ACK pushes out.
 */
export class Deadlines<T extends Timed> {
  readonly #items: T[] = [];
  /** What the heap is ordered by: at most the deadline of the item in the same place. */
  readonly #keys: number[] = [];

  /** Items with a deadline. */
  get size(): number {
    return this.#items.length;
  }

  /** Sets or moves the deadline of `item`; Infinity removes it. */
  set(item: T, deadline: number): void {
    if (deadline === Infinity) {
      this.remove(item);
      return;
    }
    item.deadline = deadline;
    if (item.heapIndex < 0) {
      this.#items.push(item);
      this.#keys.push(deadline);
      this.#siftUp(this.#items.length - 1, item, deadline);
    } else if (deadline < this.#keys[item.heapIndex]!) {
      this.#siftUp(item.heapIndex, item, deadline);
    }
  }

  /** Takes `item` out; harmless if it is not in. */
  remove(item: T): void {
    item.deadline = Infinity;
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#items.pop()!;
    const key = this.#keys.pop()!;
    if (last === item) return;
    if (index > 0 && key < this.#keys[(index - 1) >> 1]!) this.#siftUp(index, last, key);
    else this.#siftDown(index, last, key);
  }

  /** The earliest deadline, ms; Infinity if there is none. */
  next(): number {
    while (this.#items.length > 0) {
      const top = this.#items[0]!;
      if (top.deadline <= this.#keys[0]!) return top.deadline;
      this.#siftDown(0, top, top.deadline);
    }
    return Infinity;
  }

  /** Takes out an item whose deadline is at or before `now`, the earliest first. */
  popDue(now: number): T | undefined {
    if (this.next() > now) return undefined;
    const top = this.#items[0]!;
    this.remove(top);
    return top;
  }

  #siftUp(index: number, item: T, key: number): void {
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#keys[parent]! <= key) break;
      this.#place(index, this.#items[parent]!, this.#keys[parent]!);
      index = parent;
    }
    this.#place(index, item, key);
  }

  #siftDown(index: number, item: T, key: number): void {
    const size = this.#items.length;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#keys[child + 1]! < this.#keys[child]!) child++;
      if (key <= this.#keys[child]!) break;
      this.#place(index, this.#items[child]!, this.#keys[child]!);
      index = child;
    }
    this.#place(index, item, key);
  }

  #place(index: number, item: T, key: number): void {
    this.#items[index] = item;
    this.#keys[index] = key;
    item.heapIndex = index;
  }
}
