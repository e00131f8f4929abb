/** What the {@link EventQueue} orders: by time, and by order of scheduling at the same time. */
export interface SimEvent {
  /** ms */
  at: number;
  order: number;
}

/** A binary heap. */
export class EventQueue<T extends SimEvent> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** Time of the earliest event; Infinity if there is none. */
  next(): number {
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.at;
  }

  push(event: T): void {
    const heap = this.#heap;
    let index = heap.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!earlier(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  pop(): T | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || last === top) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && earlier(heap[child + 1]!, heap[child]!)) child++;
      if (!earlier(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return top;
  }
}

function earlier(a: SimEvent, b: SimEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
