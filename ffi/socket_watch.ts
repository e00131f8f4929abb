/**
 * Waiting at sockets, many at once, for what Deno's own waits do not wake for: errors, and anything at
 * sockets that Deno did not open.
 *
 * @module
 */

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
} as const;

// <sys/epoll.h>, <sys/eventfd.h>
const CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 0x1;
const EPOLLERR = 0x8;
const EPOLLET = 0x80000000;
/** struct epoll_event: uint32 events, uint64 data; packed on x86-64 alone. In 32-bit words. */
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
const EVENT_DATA = Deno.build.arch === "x86_64" ? 1 : 2;
const MAX_EVENTS = 64;
/**
 * Wakes that follow each other faster than this cost more than what they are for: then what comes within
 * a pause is taken together.
 */
const BUSY_MS = 3;
const PAUSE_MS = 1;
/** Of the event that ends the wait. */
const END = 0;

/**
 * One epoll instance, and one wait for it on a thread of the runtime's. It reports errors, and of
 * sockets that are to be received from what arrives.
 */
export class SocketWatch {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #epoll: number;
  /** Readable when the wait is to end. */
  readonly #end: number;
  readonly #events = new Uint32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #event = new Uint32Array(32);
  readonly #running: Promise<void>;
  #isClosed = false;

  /**
   * @param occurred Called with the number of a socket at which errors have come since the last time,
   * or messages, and whether there are errors.
   * @throws {Error} if the system gives no descriptor.
   */
  constructor(occurred: (socket: number, hasErrors: boolean) => void) {
    const { symbols } = this.#libc;
    this.#epoll = symbols.epoll_create1(CLOEXEC);
    this.#end = symbols.eventfd(0, CLOEXEC);
    if (this.#epoll < 0 || this.#end < 0 || !this.#add(this.#end, EPOLLIN, END)) {
      const errno = this.#libc.errno();
      this.#release();
      throw new Error(`no epoll instance: errno ${errno}`);
    }
    this.#running = this.#run(occurred);
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

  /** Resolves when the wait is over. `occurred` is not called again. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#event.fill(1); // any number but 0
      this.#libc.symbols.write(this.#end, this.#event, 8n);
    }
    await this.#running;
  }

  async #run(occurred: (socket: number, hasErrors: boolean) => void): Promise<void> {
    const { symbols } = this.#libc;
    for (let last = -Infinity; !this.#isClosed;) {
      const count = await symbols.wait(this.#epoll, this.#events, MAX_EVENTS, -1);
      for (let i = 0; i < count && !this.#isClosed; i++) {
        const at = i * EVENT_WORDS;
        occurred(this.#events[at + EVENT_DATA]!, (this.#events[at]! & EPOLLERR) !== 0);
      }
      const now = performance.now();
      const isBusy = now - last < BUSY_MS;
      last = now;
      if (isBusy) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    this.#release();
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
