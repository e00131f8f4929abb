/**
 * A set for what comes and goes thousands of times a second.
 *
 * A `Set` would do, but for the garbage collector: each time it has been filled, V8 copies the live
 * entries to a new table and leaves in the old one a pointer to it. Once one such table is in the old
 * generation, every later one, and what was in it, survives there until the next full collection: at
 * 3,000 connections per second that is 20 MB per second, and pauses to copy them.
 *
 * @module
 */

/**
 * An item keeps its place in a property, another one for each roster it is in; -1 = not in it, as
 * at first.
 */
export class Roster<T extends { [P in K]: number }, K extends string> {
  readonly #place: K;
  readonly #items: T[] = [];

  /** @param place The property of an item with its place in this roster. */
  constructor(place: K) {
    this.#place = place;
  }

  get size(): number {
    return this.#items.length;
  }

  /** In no order. Changes with the roster: loop over a copy where something may go meanwhile. */
  get items(): readonly T[] {
    return this.#items;
  }

  /** Adds an item that is not in the roster. */
  add(item: T): void {
    this.#setPlace(item, this.#items.push(item) - 1);
  }

  /** Takes an item out; harmless if it is not in. */
  delete(item: T): void {
    const index = item[this.#place];
    if (index < 0) return;
    this.#setPlace(item, -1);
    const last = this.#items.pop()!;
    if (last === item) return;
    this.#items[index] = last;
    this.#setPlace(last, index);
  }

  #setPlace(item: T, index: number): void {
    (item as { [P in K]: number })[this.#place] = index;
  }
}
