/**
 * Connection requests that their forwarders have yet to hear of, in turns by who sent them.
 *
 * @module
 */

import type { HalfOpen } from "./forwarder.ts";

/** One sender's, in the order in which they came. */
class Line {
  readonly from: unknown;
  readonly requests: HalfOpen[] = [];
  /** Of the first one that is left. */
  head = 0;

  constructor(from: unknown) {
    this.from = from;
  }
}

/** First come, first served for each sender; senders one after the other. */
export class RequestQueue {
  /** By sender, in the order of their turns. */
  readonly #lines = new Map<unknown, Line>();

  get isEmpty(): boolean {
    return this.#lines.size === 0;
  }

  push(request: HalfOpen): void {
    let line = this.#lines.get(request.from);
    if (line === undefined) this.#lines.set(request.from, line = new Line(request.from));
    line.requests.push(request);
  }

  /** The next one; undefined if there is none. */
  take(): HalfOpen | undefined {
    for (const line of this.#lines.values()) {
      const request = line.requests[line.head++]!;
      this.#lines.delete(line.from);
      if (line.head === line.requests.length) return request;
      if (line.head >= 64 && 2 * line.head >= line.requests.length) {
        line.requests.splice(0, line.head);
        line.head = 0;
      }
      this.#lines.set(line.from, line); // behind the others
      return request;
    }
    return undefined;
  }
}
