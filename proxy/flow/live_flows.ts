/**
 * Flows in the order in which they were added, without ever being sorted, for what comes and goes
 * thousands of times a second.
 *
 * @module
 */

import type { Flow } from "./flow.ts";

/** Holes there may be beside the flows: fewer are not worth the closing up. */
const FEW = 64;

/**
 * A flow that goes leaves a hole; when there are more holes than flows the list closes up. A loop over
 * it may take its time, and flows may come and go meanwhile: it meets those that were there when it
 * began, and still are when their turn comes.
 */
export class LiveFlows {
  /** Undefined: a hole. */
  readonly #flows: (Flow | undefined)[] = [];
  /** Ascending: tells a loop where to go on when the list has closed up. */
  readonly #numbers: number[] = [];
  #lastNumber = 0;
  #size = 0;
  /** How often the list has closed up. */
  #closings = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds a flow that is in no list. */
  add(flow: Flow): void {
    flow.tablePlace = this.#flows.push(flow) - 1;
    this.#numbers.push(++this.#lastNumber);
    this.#size++;
  }

  /** Takes a flow out; harmless if it is not in. */
  delete(flow: Flow): void {
    if (flow.tablePlace < 0) return;
    this.#flows[flow.tablePlace] = undefined;
    flow.tablePlace = -1;
    this.#size--;
    if (this.#flows.length > 2 * this.#size + FEW) this.#closeUp();
  }

  *[Symbol.iterator](): Generator<Flow, void, undefined> {
    const end = this.#lastNumber;
    for (let at = 0; at < this.#flows.length && this.#numbers[at]! <= end; at++) {
      const flow = this.#flows[at];
      if (flow === undefined) continue;
      const number = this.#numbers[at]!;
      const closings = this.#closings;
      yield flow;
      if (closings !== this.#closings) at = this.#behind(number) - 1;
    }
  }

  #closeUp(): void {
    let length = 0;
    for (let at = 0; at < this.#flows.length; at++) {
      const flow = this.#flows[at];
      if (flow === undefined) continue;
      this.#flows[length] = flow;
      this.#numbers[length] = this.#numbers[at]!;
      flow.tablePlace = length++;
    }
    this.#flows.length = this.#numbers.length = length;
    this.#closings++;
  }

  /** The first place of a greater number. */
  #behind(number: number): number {
    let [low, high] = [0, this.#numbers.length];
    while (low < high) {
      const middle = low + high >>> 1;
      if (this.#numbers[middle]! <= number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
