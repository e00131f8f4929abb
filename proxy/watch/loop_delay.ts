/**
 * How late the event loop is: a timer that comes when it should has nothing in front of it.
 *
 * @module
 */

import { Histogram } from "../flow/histogram.ts";

/** A wake-up this often costs nothing that can be measured, and finds what lasts. */
const EVERY_MS = 500;

export class LoopDelay {
  readonly delays: Histogram = new Histogram();
  readonly #now: () => number;
  #dueAt = Infinity;
  /** The last delay, ms. */
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param now Milliseconds, monotonic. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#dueAt = this.#now() + EVERY_MS;
    this.#timer = setTimeout(() => this.#tick(), EVERY_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#dueAt = Infinity;
  }

  /** The last delay, or the one that goes on, ms. */
  get current(): number {
    return Math.max(this.#last, this.#now() - this.#dueAt);
  }

  #tick(): void {
    this.#timer = undefined;
    this.#last = Math.max(0, this.#now() - this.#dueAt);
    this.delays.observe(this.#last);
    this.start();
  }
}
