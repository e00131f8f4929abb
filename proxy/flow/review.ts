/**
 * All live flows looked at, after a change say, some in each turn: of a hundred thousand at once
 * everybody's packets would have to wait.
 *
 * @module
 */

import type { Flow } from "./flow.ts";
import type { FlowTable } from "./table.ts";

/** Flows of one step: some half a millisecond of them, a few where there are thousands of rules. */
export const REVIEW_STEP = 256;

export interface ReviewHandler {
  /** A live flow's turn. @returns whether it may go on. */
  look(flow: Flow): boolean;
  /** All have had their turn. @returns how many flows it has ended. */
  finished(): number;
}

export class FlowReview {
  readonly #table: FlowTable;
  readonly #handler: ReviewHandler;
  /** Undefined when no review is under way. */
  #walk: Iterator<Flow> | undefined;
  /** Something has changed since the walk began: those that it has passed have their turn once more. */
  #isStale = false;

  constructor(table: FlowTable, handler: ReviewHandler) {
    this.#table = table;
    this.#handler = handler;
  }

  /** Whether {@link step} is to be called again. */
  get isUnderWay(): boolean {
    return this.#walk !== undefined;
  }

  /**
   * Something has changed: every flow that is live now has its turn, the first at once. One that is
   * under way is not begun anew, or changes that do not stop would keep it from its end.
   *
   * @returns how many flows have ended.
   */
  begin(): number {
    if (this.#walk !== undefined) this.#isStale = true;
    return this.step();
  }

  /** Goes on. @returns how many flows have ended. */
  step(): number {
    const walk = this.#walk ??= this.#table.live[Symbol.iterator]();
    let ended = 0;
    for (let left = REVIEW_STEP; left > 0; left--) {
      const { value: flow, done } = walk.next();
      if (done) return ended + this.#finish();
      if (this.#handler.look(flow)) continue;
      flow.carrier?.endFlow(flow, "revoked");
      ended++;
    }
    return ended;
  }

  /** Ends it before its end. */
  stop(): void {
    this.#walk?.return?.();
    this.#walk = undefined;
    this.#isStale = false;
  }

  #finish(): number {
    this.#walk = this.#isStale ? this.#table.live[Symbol.iterator]() : undefined;
    this.#isStale = false;
    return this.#handler.finished();
  }
}
