/**
 * The turns of what works on descriptors of its own, and waiting for these in place of the runtime.
 *
 * @module
 */

import { setImmediate } from "node:timers"; // the global is a getter, which is asked each time
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLIN,
  EVENT_DATA,
  EVENT_WORDS,
} from "./epoll.ts";
import { Errno, type Libc, openLibc } from "./libc.ts";

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
} as const;

// <sys/eventfd.h>
const EFD_CLOEXEC = 0x80000;
/** Descriptors among which those of the runtime's event loop are looked for: it opened them first. */
const MAX_DESCRIPTORS = 64;
const MAX_EVENTS = 64;
/** Of the events of the runtime's own. */
const RUNTIME = 0xffff_ffff;
/** Wakes that follow each other faster than this are waited for in place, ms. */
const FREQUENT_MS = 20;
/** The longest time for which the runtime has no turn, or what it has to do waits, ms. */
const REST_MS = 10;
/** For how long the runtime waits itself after something of its own has happened, ms. */
const PAUSE_MS = 100;
/** Turns of the event loop, one after the other, in which there was something else to do. */
const MAX_BUSY_TURNS = 8;
/** So many that were called stay in the queue. */
const MAX_CALLED = 64;
/** What is asked for "soon" may ask so in turn: so many times before the event loop has a turn. */
const ROUNDS = 4;

/** Who waits for a descriptor. */
export interface Waiting {
  readonly fd: number;
  readonly isWaiting: boolean;
  /** It may be readable. */
  wake(): void;
  /** The runtime is to wait for it again. */
  arm(): void;
}

/** When the runtime has to have a turn at the latest, ms of `performance.now()`. */
export interface Deadline {
  readonly at: number;
}

/**
 * What is to be done soon, in the order in which it was asked for; and the wait.
 *
 * A wake by the runtime's event loop costs 150 µs of CPU where wakes come 5 ms apart, and 65 where they
 * come 1 ms apart, most of it in code of the runtime's that has left the caches meanwhile; a wait by a
 * call of this thread's own costs 50 and 20. So where wakes follow each other closely, and everybody
 * here waits, this thread waits itself, for all their descriptors and for the runtime's own: its epoll
 * instances are among what is waited for. When one of those becomes readable alone, which is when the
 * runtime itself has something to do, or is so for {@link REST_MS}, the wait ends, and for
 * {@link PAUSE_MS} there is no other. Timers of the runtime's, but for those that tell their deadlines, and
 * what promises have to do may be late by {@link REST_MS}.
 */
export class Turns {
  readonly #queue: (() => void)[] = [];
  /** Before it all has been called. */
  #next = 0;
  readonly #onImmediate = () => this.#callNext();
  readonly #onRest = () => this.#rest();
  #libc: Libc<typeof CALLS> | undefined;
  #epoll = -1;
  readonly #events = new Uint32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #event = new Uint32Array(32);
  /** By number. */
  readonly #waiting: (Waiting | undefined)[] = [];
  readonly #deadlines = new Set<Deadline>();
  /** Whether they have ever waited: one that has not has nothing to wait for yet. */
  readonly #hasWaited: boolean[] = [];
  /** How many have, and how many of them wait. */
  #known = 0;
  #waits = 0;
  /** How often this thread has waited itself, and was woken by what somebody here waits for. */
  inPlace = 0;
  #lastWake = -Infinity;
  #pausedUntil = -Infinity;
  /** Since when every look has found that the runtime has something to do. */
  #runtimeAt = Infinity;
  #busyTurns = 0;
  /** This thread is to wait, not the runtime. */
  #isOn = false;
  #isScheduled = false;
  #isResting = false;

  /** Whether {@link begin} was called, and works here. */
  get hasBegun(): boolean {
    return this.#epoll >= 0;
  }

  /**
   * From now on this thread may wait. For a program of its own, not for a module of somebody else's,
   * whose timers would be late. To be called before others have opened descriptors.
   */
  begin(): void {
    if (this.hasBegun) return;
    const libc = openLibc(CALLS);
    const epoll = libc.symbols.epoll_create1(EPOLL_CLOEXEC);
    if (epoll >= 0 && this.#addRuntime(libc, epoll)) {
      this.#libc = libc;
      this.#epoll = epoll;
      return;
    }
    if (epoll >= 0) libc.symbols.close(epoll);
    libc.close();
  }

  /** Calls `run` once, after what else is waiting now. */
  soon(run: () => void): void {
    this.#queue.push(run);
    if (!this.#isResting) setImmediate(this.#onImmediate);
  }

  addDeadline(deadline: Deadline): void {
    this.#deadlines.add(deadline);
  }

  removeDeadline(deadline: Deadline): void {
    this.#deadlines.delete(deadline);
  }

  /** @returns the number for the other methods; below zero if this thread cannot wait for it. */
  add(waiting: Waiting): number {
    if (!this.hasBegun) return -1;
    let number = this.#waiting.indexOf(undefined);
    if (number < 0) number = this.#waiting.length;
    this.#event.fill(0);
    this.#event[0] = EPOLLIN;
    this.#event[EVENT_DATA] = number;
    const { symbols } = this.#libc!;
    if (symbols.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, waiting.fd, this.#event) !== 0) return -1;
    this.#waiting[number] = waiting;
    this.#hasWaited[number] = false;
    if (waiting.isWaiting) this.#count(number);
    return number;
  }

  /** Before its descriptor is closed. */
  remove(number: number): void {
    const waiting = this.#waiting[number];
    if (waiting === undefined) return;
    this.#waiting[number] = undefined;
    if (this.#hasWaited[number]) this.#known--;
    if (waiting.isWaiting) this.#waits--;
    this.#libc!.symbols.epoll_ctl(this.#epoll, EPOLL_CTL_DEL, waiting.fd, this.#event);
  }

  /** One that was added has begun to wait. @returns whether the runtime need not. */
  waits(number: number): boolean {
    this.#count(number);
    if (this.#isOn && !this.#isResting) this.#schedule();
    return this.#isOn;
  }

  /** One of those waits no more. */
  wakes(): void {
    this.#waits--;
  }

  /** The runtime has woken one. */
  woken(): void {
    const now = performance.now();
    if (now - this.#lastWake < FREQUENT_MS && now >= this.#pausedUntil) this.#isOn = true;
    this.#lastWake = now;
  }

  #count(number: number): void {
    this.#waits++;
    if (this.#hasWaited[number]) return;
    this.#hasWaited[number] = true;
    this.#known++;
  }

  #callNext(): void {
    const run = this.#queue[this.#next];
    if (run === undefined) return; // called while this thread waited
    if (++this.#next === this.#queue.length) this.#queue.length = this.#next = 0;
    else if (this.#next === MAX_CALLED) {
      this.#queue.splice(0, this.#next);
      this.#next = 0;
    }
    run();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#onRest);
  }

  /** How many are to be called. */
  get #pending(): number {
    return this.#queue.length - this.#next;
  }

  get #isBusy(): boolean {
    return this.#pending > 0 || this.#waits < this.#known;
  }

  #rest(): void {
    this.#isScheduled = false;
    if (!this.#isOn) return;
    let isOver = true;
    const before = this.#pending;
    this.#isResting = true;
    try {
      isOver = this.#isBusy ? this.#look() : this.#wait();
    } finally {
      this.#isResting = false;
      // What was asked for meanwhile and is not done.
      for (let i = before; i < this.#pending; i++) setImmediate(this.#onImmediate);
      if (isOver) this.#leave();
      else this.#schedule();
    }
  }

  /** Hands on what is there, where somebody has something else to do. @returns whether to give it up. */
  #look(): boolean {
    this.#hand(this.#poll(0));
    return this.#isRuntimeKept() || ++this.#busyTurns > MAX_BUSY_TURNS;
  }

  /** @returns whether to leave the waiting to the runtime. */
  #wait(): boolean {
    this.#busyTurns = 0;
    const end = performance.now() + REST_MS;
    for (let now = end - REST_MS; now < end; now = performance.now()) {
      const deadline = this.#deadline();
      if (deadline <= now) {
        this.#hand(this.#poll(0));
        return this.#isRuntimeKept();
      }
      const until = Math.min(end, deadline);
      const count = this.#poll(Math.ceil(until - now));
      if (count === 0 && until === deadline) return false;
      if (count <= 0) return true;
      if (!this.#hand(count)) {
        this.#pause();
        return true;
      }
      this.inPlace++;
      for (let round = 0; round < ROUNDS && this.#pending > 0; round++) this.#callAll();
      if (this.#isRuntimeKept()) return true;
      if (this.#isBusy) return false;
    }
    return false;
  }

  /**
   * Whether the runtime has had something to do for {@link REST_MS}; then there is a pause. Its event loop
   * asks the system in one of some sixty turns while there is more to call, so a turn is not enough.
   */
  #isRuntimeKept(): boolean {
    if (performance.now() - this.#runtimeAt < REST_MS) return false;
    // What has come for us is taken by now: what the runtime is told now is most likely its own.
    this.#runtimeAt = Infinity;
    this.#hand(this.#poll(0));
    if (this.#runtimeAt === Infinity) return false;
    this.#pause();
    return true;
  }

  #pause(): void {
    this.#runtimeAt = Infinity;
    this.#pausedUntil = performance.now() + PAUSE_MS;
  }

  #deadline(): number {
    let first = Infinity;
    for (const { at } of this.#deadlines) first = Math.min(first, at);
    return first;
  }

  #poll(limitMs: number): number {
    return this.#libc!.symbols.epoll_wait(this.#epoll, this.#events, MAX_EVENTS, limitMs);
  }

  /**
   * @returns whether any event was of somebody's who waits. One of the runtime's beside it may come of the
   * same descriptor, for which the runtime waits too; if not, it is told again.
   */
  #hand(count: number): boolean {
    let isRuntime = false;
    let isOurs = false;
    for (let i = 0; i < count; i++) {
      const number = this.#events[i * EVENT_WORDS + EVENT_DATA]!;
      if (number === RUNTIME) isRuntime = true;
      const waiting = number === RUNTIME ? undefined : this.#waiting[number];
      if (!waiting?.isWaiting) continue;
      isOurs = true;
      waiting.wake();
    }
    const now = performance.now();
    if (!isRuntime) this.#runtimeAt = Infinity;
    else if (this.#runtimeAt === Infinity) this.#runtimeAt = now;
    if (isOurs) this.#lastWake = now;
    return isOurs;
  }

  /** What is in the queue now, but not what that asks for. */
  #callAll(): void {
    for (let left = this.#pending; left > 0; left--) this.#callNext();
  }

  #leave(): void {
    this.#isOn = false;
    this.#busyTurns = 0;
    for (const waiting of this.#waiting) if (waiting?.isWaiting) waiting.arm();
  }

  /** Adds the runtime's own epoll instances: to each a descriptor is unknown, to other files epoll is. */
  #addRuntime({ symbols, errno }: Libc<typeof CALLS>, epoll: number): boolean {
    const probe = symbols.eventfd(0, EFD_CLOEXEC);
    if (probe < 0) return false;
    let count = 0;
    this.#event.fill(0);
    this.#event[0] = EPOLLIN;
    this.#event[EVENT_DATA] = RUNTIME;
    for (let fd = 0; fd < MAX_DESCRIPTORS; fd++) {
      if (fd === epoll || fd === probe) continue;
      const isEpoll = symbols.epoll_ctl(fd, EPOLL_CTL_DEL, probe, this.#event) !== 0 &&
        errno() === Errno.ENOENT;
      if (isEpoll && symbols.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, this.#event) === 0) count++;
    }
    symbols.close(probe);
    return count > 0;
  }
}

/** Those of this thread: it has one event loop. */
export const turns = new Turns();
