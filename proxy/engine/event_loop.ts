/**
 * What an engine needs of the host: the time, and its turns. A simulation has its own.
 *
 * @module
 */

import process from "node:process";
import { type Deadline, turns } from "../../ffi/mod.ts";

export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Milliseconds since the Unix epoch. */
  wallClock(): number;
  /** What this process has used of its processors so far, ms. Missing: nobody knows. */
  cpuTime?(): number;
}

/** When an engine has its turns. Each engine has a scheduler of its own. */
export interface Scheduler {
  /** Calls `run` once, after what else is waiting now. Not called again before that. */
  soon(run: () => void): void;
  /** Calls `run` once, in `delayMs`. Replaces the call that was scheduled before. */
  later(run: () => void, delayMs: number): void;
  /** Nothing is called {@link later} any more. */
  cancel(): void;
}

export const hostClock: Clock = {
  now: () => performance.now(),
  wallClock: () => Date.now(),
  cpuTime: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1_000;
  },
};

/** The most that `setTimeout` takes. */
const MAX_DELAY_MS = 0x7fffffff;

/** The runtime's event loop, in which the sockets of targets have their turns too. */
export class EventLoop implements Scheduler, Deadline {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #run: () => void = () => {};
  /** When that is due, on the clock of `performance.now()`. */
  at = Infinity;
  readonly #onTimer = () => {
    this.at = Infinity;
    this.#run();
  };

  soon(run: () => void): void {
    turns.soon(run);
  }

  later(run: () => void, delayMs: number): void {
    clearTimeout(this.#timer);
    // Rounded up, or the timer would come before its deadline and find nothing to do.
    const delay = Math.min(MAX_DELAY_MS, Math.max(0, Math.ceil(delayMs)));
    this.#run = run;
    this.at = performance.now() + delay;
    turns.addDeadline(this);
    this.#timer = setTimeout(this.#onTimer, delay);
  }

  cancel(): void {
    clearTimeout(this.#timer);
    turns.removeDeadline(this);
  }
}
