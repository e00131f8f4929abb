/**
 * Connection requests that their forwarders have not been told of yet, taken from each sender in turn.
 *
 * Dialling, joining and closing a connection takes as long as dozens of packets, most of it after the
 * request. So while others move data, a sender gets only part of the time for it: requests above a rate
 * wait. The stack cannot know how much time there is, and is told the rate.
 *
 * @module
 */

import { Deadlines, type Timed } from "../deadlines.ts";
import type { HalfOpen } from "./forwarder.ts";

/** What decides how far a sender's requests are held back. */
export interface RequestPacing {
  /** Bytes that all senders but this one have moved so far, both ways. */
  trafficBeside(from: unknown): number;
  /** Requests a second that a sender may make while others move data. Asked for each request. */
  requestRate(now: number): number;
}

/** Requests that need not wait: as many as a web page makes, not a flood. */
const BURST = 32;
/**
 * How often to look at what others move, ms: longer than a lost segment stalls a stream. Less than
 * {@link MOVING} bytes a millisecond, 4 Mbit/s, needs no protection.
 */
const WINDOW_MS = 100;
const MOVING = 500;
/**
 * Requests told in one flush. The segments of existing connections come after them, and should not wait
 * long while others move data.
 */
const AT_ONCE = 8;
const AT_ONCE_PACED = 2;

/** The requests of one sender, oldest first. */
class Line implements Timed {
  readonly from: unknown;
  readonly requests: HalfOpen[] = [];
  /** Index of the first one left. */
  head = 0;
  /** When its turn may come, ms. */
  nextAt = -Infinity;
  isPaced = false;
  windowAt = -Infinity;
  movedBefore = 0;
  deadline = Infinity;
  heapIndex = -1;

  constructor(from: unknown) {
    this.from = from;
  }
}

/** First come, first served for each sender; senders one after the other. */
export class RequestQueue {
  /**
   * Those with requests that may be taken, in the order of their turns. No `Map`: what comes and goes in
   * one leaves old tables to the next full collection, see `Roster`.
   */
  readonly #ready: Line[] = [];
  /** Those with requests that may not yet. */
  readonly #held = new Deadlines<Line>();
  /** For as long as there is the sender: an empty line is still paced. */
  readonly #lines = new WeakMap<WeakKey, Line>();
  readonly #pacing: RequestPacing | undefined;
  /** How many a flush may take. */
  atOnce = AT_ONCE;

  /** @param pacing Default: nobody is held back. A sender that is not an object never is. */
  constructor(pacing?: RequestPacing) {
    this.#pacing = pacing;
  }

  /** Whether {@link take} has one whatever the time is. */
  get isReady(): boolean {
    return this.#ready.length > 0;
  }

  /** When one that is held back may be taken, ms; Infinity for never. */
  next(): number {
    return this.#held.next();
  }

  push(request: HalfOpen): void {
    const line = this.#lineOf(request.from);
    line.requests.push(request);
    if (line.requests.length === 1) this.#enter(line, request.at);
  }

  /** The next one; undefined if there is none whose time has come. */
  take(now: number): HalfOpen | undefined {
    for (let line; (line = this.#held.popDue(now)) !== undefined;) this.#ready.push(line);
    const line = this.#ready.shift();
    if (line === undefined) return undefined;
    const { requests } = line;
    const request = requests[line.head++]!;
    if (!request.settled) this.#pace(line, now);
    if (line.head === requests.length) {
      requests.length = line.head = 0;
      return request;
    }
    if (line.head >= 64 && 2 * line.head >= requests.length) {
      requests.splice(0, line.head);
      line.head = 0;
    }
    this.#enter(line, now); // behind the others
    return request;
  }

  #lineOf(from: unknown): Line {
    if (!isKey(from)) return this.#ready.find((line) => line.from === from) ?? new Line(from);
    let line = this.#lines.get(from);
    if (line === undefined) this.#lines.set(from, line = new Line(from));
    return line;
  }

  #enter(line: Line, now: number): void {
    if (line.nextAt > now) this.#held.set(line, line.nextAt);
    else this.#ready.push(line);
  }

  /** One of the line's is taken. */
  #pace(line: Line, now: number): void {
    const { from } = line;
    const pacing = this.#pacing;
    if (pacing === undefined || !isKey(from)) return;
    const elapsed = now - line.windowAt;
    if (elapsed >= WINDOW_MS) {
      const moved = pacing.trafficBeside(from);
      line.isPaced = moved - line.movedBefore >= elapsed * MOVING;
      line.movedBefore = moved;
      line.windowAt = now;
    }
    this.atOnce = line.isPaced ? AT_ONCE_PACED : AT_ONCE;
    if (!line.isPaced) return;
    const spacing = 1_000 / pacing.requestRate(now);
    line.nextAt = Math.max(line.nextAt, now - BURST * spacing) + spacing;
  }
}

function isKey(from: unknown): from is WeakKey {
  return typeof from === "object" && from !== null;
}
