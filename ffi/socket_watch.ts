/**
 * Waits on many sockets at once for what Deno itself does not report: errors, and anything on sockets
 * that Deno did not open.
 *
 * @module
 */

import { DescriptorWait } from "./descriptor_wait.ts";
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLLERR,
  EPOLLET,
  EPOLLIN,
  EVENT_DATA,
  EVENT_WORDS,
} from "./epoll.ts";
import { type Libc, openLibc } from "./libc.ts";

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const;

const MAX_EVENTS = 64;

/**
 * One epoll instance, and one wait for it. It reports errors, and messages on sockets that were added for
 * them.
 */
export class SocketWatch {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #epoll: number;
  readonly #wait: DescriptorWait;
  readonly #events = new Uint32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #event = new Uint32Array(32);
  readonly #occurred: (socket: number, hasErrors: boolean) => void;
  readonly #onEvents = () => this.#take();
  #isClosed = false;

  /**
   * @param occurred Called with the number of a socket at which errors have come since the last time,
   * or messages, and whether there are errors.
   * @throws {Error} if the system gives no descriptor.
   */
  constructor(occurred: (socket: number, hasErrors: boolean) => void) {
    const { symbols } = this.#libc;
    this.#occurred = occurred;
    this.#epoll = symbols.epoll_create1(EPOLL_CLOEXEC);
    try {
      if (this.#epoll < 0) throw new Error(`no epoll instance: errno ${this.#libc.errno()}`);
      this.#wait = new DescriptorWait(this.#epoll);
    } catch (error) {
      if (this.#epoll >= 0) symbols.close(this.#epoll);
      this.#libc.close();
      throw error;
    }
    this.#wait.wait(this.#onEvents);
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
    this.#event.fill(0);
    this.#event[0] = messages ? EPOLLET | EPOLLIN : EPOLLET;
    this.#event[EVENT_DATA] = socket;
    if (this.#libc.symbols.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#event) !== 0) {
      throw new Error(`epoll: errno ${this.#libc.errno()}`);
    }
  }

  /** Calls `occurred` for what has come, which may be before it is reported. */
  look(): void {
    if (this.#isClosed) return;
    this.#hand(this.#libc.symbols.epoll_wait(this.#epoll, this.#events, MAX_EVENTS, 0));
  }

  /** Resolves when the wait is over. `occurred` is not called again. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#wait.close();
    this.#libc.symbols.close(this.#epoll);
    this.#libc.close();
  }

  #take(): void {
    let count = MAX_EVENTS;
    while (count === MAX_EVENTS && !this.#isClosed) {
      count = this.#libc.symbols.epoll_wait(this.#epoll, this.#events, MAX_EVENTS, 0);
      this.#hand(count);
    }
    if (!this.#isClosed) this.#wait.wait(this.#onEvents);
  }

  /** `count` events have come; at most what is not handed on when the watch is closed is lost. */
  #hand(count: number): void {
    for (let i = 0; i < count && !this.#isClosed; i++) {
      const at = i * EVENT_WORDS;
      this.#occurred(this.#events[at + EVENT_DATA]!, (this.#events[at]! & EPOLLERR) !== 0);
    }
  }
}
