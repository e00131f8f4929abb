/**
 * Waits for messages and errors on many sockets at once, which Deno knows nothing of.
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
import { errorOf, type Libc, openLibc } from "./libc.ts";
import { turns } from "./turns.ts";

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const;

const MAX_EVENTS = 64;
/** Of so many events in one turn; for more the event loop has a turn before. */
const MAX_ROUNDS = 4;
/** One word of what epoll keeps of a socket. */
const MAX_NUMBER = 0xffff_ffff;

/** One epoll instance for many sockets, and one wait for it. */
export class SocketWatch<S> {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #epoll: number;
  readonly #wait: DescriptorWait;
  readonly #events = new Uint32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #event = new Uint32Array(32);
  readonly #occurred: (socket: S, hasErrors: boolean) => void;
  readonly #onEvents = () => this.#take();
  /** By the number that epoll knows them by: a descriptor may be another socket's soon. */
  readonly #sockets = new Map<number, S>();
  #lastNumber: number;
  #isClosed = false;

  /**
   * @param occurred Called for a socket at which errors have come since the last time, or messages, and
   * with whether there are errors.
   * @param lastNumber That of the last socket added; for tests.
   * @throws {Error} with the system's `code`, if that gives no descriptor.
   */
  constructor(occurred: (socket: S, hasErrors: boolean) => void, lastNumber = 0) {
    const { symbols, errno } = this.#libc;
    this.#occurred = occurred;
    this.#lastNumber = lastNumber;
    this.#epoll = symbols.epoll_create1(EPOLL_CLOEXEC);
    try {
      if (this.#epoll < 0) throw errorOf(errno(), "no epoll instance");
      this.#wait = new DescriptorWait(this.#epoll);
    } catch (error) {
      if (this.#epoll >= 0) symbols.close(this.#epoll);
      this.#libc.close();
      throw error;
    }
    this.#wait.wait(this.#onEvents);
  }

  /**
   * Watches a descriptor: for errors, and for messages, of which it tells once when some arrive where a
   * receive found none.
   *
   * @returns the number for {@link remove}.
   * @throws {Error} with the system's `code`, if its limit is reached.
   */
  add(fd: number, socket: S): number {
    do {
      this.#lastNumber = this.#lastNumber % MAX_NUMBER + 1;
    } while (this.#sockets.has(this.#lastNumber));
    const number = this.#lastNumber;
    this.#event.fill(0);
    this.#event[0] = EPOLLET | EPOLLIN; // errors are told of whatever the mask
    this.#event[EVENT_DATA] = number;
    const { symbols, errno } = this.#libc;
    if (symbols.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#event) !== 0) {
      throw errorOf(errno(), "a socket cannot be watched");
    }
    this.#sockets.set(number, socket);
    return number;
  }

  /** When its descriptor is closed. */
  remove(number: number): void {
    this.#sockets.delete(number);
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
    if (this.#isClosed) return;
    let isMore = true;
    try {
      for (let round = 0; isMore && round < MAX_ROUNDS && !this.#isClosed; round++) {
        const count = this.#libc.symbols.epoll_wait(this.#epoll, this.#events, MAX_EVENTS, 0);
        isMore = count === MAX_EVENTS;
        this.#hand(count);
      }
    } finally {
      // Also after a defect of `occurred`: it is of one socket, the wait is for all.
      if (isMore) turns.soon(this.#onEvents);
      else if (!this.#isClosed) this.#wait.wait(this.#onEvents);
    }
  }

  /** `count` events have come; at most what is not handed on when the watch is closed is lost. */
  #hand(count: number): void {
    let failure: { readonly error: unknown } | undefined;
    for (let i = 0; i < count && !this.#isClosed; i++) {
      const at = i * EVENT_WORDS;
      const socket = this.#sockets.get(this.#events[at + EVENT_DATA]!);
      try {
        if (socket !== undefined) this.#occurred(socket, (this.#events[at]! & EPOLLERR) !== 0);
      } catch (error) {
        failure ??= { error }; // of one socket; the others would not be told of again
      }
    }
    if (failure !== undefined) throw failure.error;
  }
}
