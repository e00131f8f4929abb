/**
 * Waits on many sockets at once for what Deno itself does not report: errors, and anything on sockets
 * that Deno did not open.
 *
 * @module
 */

import { EPOLL_CTL_ADD, EPOLLERR, EPOLLET, EPOLLIN, EVENT_DATA, EVENT_WORDS } from "./epoll.ts";
import { type Libc, openLibc } from "./libc.ts";

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  wait: {
    name: "epoll_wait",
    parameters: ["i32", "buffer", "i32", "i32"],
    result: "i32",
    nonblocking: true,
  },
  poll: { name: "epoll_wait", parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const;

// <sys/epoll.h>, <sys/eventfd.h>
const CLOEXEC = 0x80000;
const MAX_EVENTS = 64;
/**
 * Being woken by the thread costs several times as much as a timer and a look: the price is the switch to
 * the thread and back, however much has arrived. So while wakes follow each other faster than this, the
 * thread does not wait: a timer looks, until {@link MAX_EMPTY_LOOKS} looks in a row find nothing.
 */
const BUSY_MS = 12;
const MAX_EMPTY_LOOKS = 4;
/**
 * Between two looks by the timer, ms: while something is expected soon, while something is awaited, and
 * otherwise.
 */
const EXPECTING_MS = 1;
const LOOK_MS = 4;
const REST_MS = 64;
/** Of the event that ends the wait. */
const END = 0;

/**
 * One epoll instance, and one thread of the runtime's that waits on it. It reports errors, and messages
 * on sockets that were added for them.
 */
export class SocketWatch {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #epoll: number;
  /** Readable when the wait is to end. */
  readonly #end: number;
  readonly #events = new Uint32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #event = new Uint32Array(32);
  readonly #occurred: (socket: number, hasErrors: boolean) => void;
  readonly #running: Promise<void>;
  /** The thread does not wait: {@link look} and the timer find what has arrived. */
  #isBusy = false;
  #isExpecting = false;
  /** Looks by the timer since something was found. */
  #emptyLooks = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Ends the looking, undefined while a thread waits. */
  #rest: (() => void) | undefined;
  readonly #onTimer = () => this.#lookByTimer();
  #isClosed = false;
  /**
   * Whether somebody waits for more. If not, the timer looks rarely: what comes then was not asked for,
   * or its owner looks by itself.
   */
  isAwaited = true;

  /**
   * @param occurred Called with the number of a socket at which errors have come since the last time,
   * or messages, and whether there are errors.
   * @throws {Error} if the system gives no descriptor.
   */
  constructor(occurred: (socket: number, hasErrors: boolean) => void) {
    const { symbols } = this.#libc;
    this.#occurred = occurred;
    this.#epoll = symbols.epoll_create1(CLOEXEC);
    this.#end = symbols.eventfd(0, CLOEXEC);
    if (this.#epoll < 0 || this.#end < 0 || !this.#add(this.#end, EPOLLIN, END)) {
      const errno = this.#libc.errno();
      this.#release();
      throw new Error(`no epoll instance: errno ${errno}`);
    }
    this.#running = this.#run();
  }

  /**
   * Watches a descriptor, until that is closed.
   *
   * @param socket What `occurred` is called with, from 1 to 2³² − 1.
   * @param messages Whether also for messages: once when some arrive where a receive found none.
   * @throws {Error} if the system's limit is reached.
   */
  add(fd: number, socket: number, messages = false): void {
    // epoll reports errors whatever the mask.
    if (!this.#add(fd, messages ? EPOLLET | EPOLLIN : EPOLLET, socket)) {
      throw new Error(`epoll: errno ${this.#libc.errno()}`);
    }
  }

  /** Whether {@link look} may find something before it is reported. */
  get isBusy(): boolean {
    return this.#isBusy && !this.#isClosed;
  }

  /** Calls `occurred` for what has arrived, while {@link isBusy}. */
  look(): void {
    if (!this.isBusy) return;
    const count = this.#libc.symbols.poll(this.#epoll, this.#events, MAX_EVENTS, 0);
    if (count > 0) this.#emptyLooks = 0;
    this.#hand(count);
  }

  /** Something is likely to come soon: while {@link isBusy} the next look is early. */
  expect(): void {
    if (this.#isExpecting) return;
    this.#isExpecting = true;
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#startTimer();
  }

  /** Resolves when the wait is over. `occurred` is not called again. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#event.fill(1); // any number but 0
      this.#libc.symbols.write(this.#end, this.#event, 8n);
      this.#endLooking();
    }
    await this.#running;
  }

  async #run(): Promise<void> {
    const { symbols } = this.#libc;
    for (let last = -Infinity; !this.#isClosed;) {
      const count = await symbols.wait(this.#epoll, this.#events, MAX_EVENTS, -1);
      const now = performance.now();
      this.#isBusy = now - last < BUSY_MS;
      this.#hand(count);
      last = now;
      if (this.isBusy) {
        await this.#lookOften();
        last = performance.now(); // if the thread is woken soon after, it began to wait too early
      }
    }
    this.#release();
  }

  /** Until nothing comes any more. */
  async #lookOften(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#rest = resolve;
    this.#emptyLooks = 0;
    this.#startTimer();
    await promise;
  }

  #startTimer(): void {
    const ms = this.#isExpecting ? EXPECTING_MS : this.isAwaited ? LOOK_MS : REST_MS;
    this.#timer = setTimeout(this.#onTimer, ms);
  }

  #lookByTimer(): void {
    this.#timer = undefined;
    this.#emptyLooks++;
    this.look();
    // What was expected and is not here by now comes from farther away.
    if (this.#emptyLooks > 0) this.#isExpecting = false;
    if (this.isBusy && this.#emptyLooks < MAX_EMPTY_LOOKS) this.#startTimer();
    else this.#endLooking();
  }

  #endLooking(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isBusy = false;
    this.#rest?.();
    this.#rest = undefined;
  }

  /** `count` events have come; at most what is not handed on when the watch is closed is lost. */
  #hand(count: number): void {
    for (let i = 0; i < count && !this.#isClosed; i++) {
      const at = i * EVENT_WORDS;
      this.#occurred(this.#events[at + EVENT_DATA]!, (this.#events[at]! & EPOLLERR) !== 0);
    }
  }

  #add(fd: number, events: number, data: number): boolean {
    this.#event.fill(0);
    this.#event[0] = events;
    this.#event[EVENT_DATA] = data;
    return this.#libc.symbols.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#event) === 0;
  }

  #release(): void {
    const { symbols } = this.#libc;
    for (const fd of [this.#epoll, this.#end]) if (fd >= 0) symbols.close(fd);
    this.#libc.close();
  }
}
