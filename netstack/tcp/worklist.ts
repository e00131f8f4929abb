/**
 * A list that is filled and emptied all the time.
 *
 * @module
 */

/**
 * A list that is filled and emptied all the time, and keeps its storage. (An array whose `length`
 * is set to 0 loses it: the next push would allocate.)
 */
export class Worklist<T> {
  readonly #items: (T | undefined)[] = [];
  length = 0;

  push(item: T): void {
    this.#items[this.length++] = item;
  }

  /** Takes out the item at `index`; to be called for each in turn, then {@link clear}. */
  take(index: number): T {
    const item = this.#items[index]!;
    this.#items[index] = undefined;
    return item;
  }

  /** Every item has been taken. */
  clear(): void {
    this.length = 0;
  }
}
