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
  /** Undefined: a hole. Another array when it has closed up during a loop, which goes on over the old. */
  #flows: (Flow | undefined)[] = [];
  #size = 0;
  /** Loops that are under way. */
  #loops = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds a flow that never was in a list. */
  add(flow: Flow): void {
    flow.tablePlace = this.#flows.push(flow) - 1;
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
    const flows = this.#flows;
    const { length } = flows;
    this.#loops++;
    try {
      for (let at = 0; at < length; at++) {
        const flow = flows[at];
        if (flow !== undefined && flow.tablePlace >= 0) yield flow;
      }
    } finally {
      this.#loops--;
    }
  }

  #closeUp(): void {
    // Not always a new one: what has grown old would keep those that were in it from being collected.
    if (this.#loops > 0) this.#flows = [...this.#flows];
    let length = 0;
    for (const flow of this.#flows) {
      if (flow === undefined) continue;
      this.#flows[length] = flow;
      flow.tablePlace = length++;
    }
    this.#flows.length = length;
  }
}
