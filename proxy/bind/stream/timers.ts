/**
 * The time, as a stream bind needs it. A test, or a simulation, has its own.
 *
 * @module
 */

export interface StreamTimers {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Calls `run` once in `delayMs`. @returns what calls that off. */
  after(delayMs: number, run: () => void): () => void;
}

export const hostTimers: StreamTimers = {
  now: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, Math.ceil(delayMs));
    return () => clearTimeout(timer);
  },
};
