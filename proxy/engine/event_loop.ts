/**
 * What an engine needs of the host: the time, and its turns. A simulation has its own.
 *
 * @module
 */

import process from "node:process";
import { setImmediate } from "node:timers"; // the global is a getter, which is asked each time

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
export class EventLoop implements Scheduler {
  #timer: ReturnType<typeof setTimeout> | undefined;

  soon(run: () => void): void {
    setImmediate(run);
  }

  later(run: () => void, delayMs: number): void {
    clearTimeout(this.#timer);
    // Rounded up, or the timer would come before its deadline and find nothing to do.
    this.#timer = setTimeout(run, Math.min(MAX_DELAY_MS, Math.max(0, Math.ceil(delayMs))));
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}
