/**
 * What signals mean to a running gateway.
 *
 * @module
 */

/** Within this time of the first, another signal is the same Ctrl-C, delivered by `npx` as well. */
const DUPLICATE_MS = 1000;

/** Counts requests to stop. */
export class StopRequests {
  #first: number | undefined;

  /**
   * @param now Milliseconds, monotonic.
   * @returns `stop` for the first, `ignore` for its duplicate, `exit` for one that means it.
   */
  receive(now: number): "stop" | "ignore" | "exit" {
    if (this.#first === undefined) {
      this.#first = now;
      return "stop";
    }
    return now - this.#first > DUPLICATE_MS ? "exit" : "ignore";
  }
}

export interface SignalHandlers {
  /** SIGINT, SIGTERM, on Windows SIGINT and SIGBREAK. */
  stop(): void;
  /** SIGUSR2. Not SIGUSR1: on that the runtime opens its inspector, to anyone who can connect to it. */
  report(): void;
  /** SIGHUP. */
  reload(): void;
}

/** @returns a function that takes the handlers away again. */
export function listenForSignals(handlers: SignalHandlers): () => void {
  const { stop, report, reload } = handlers;
  const listeners: readonly [Deno.Signal, () => void][] = Deno.build.os === "windows"
    ? [["SIGINT", stop], ["SIGBREAK", stop]]
    : [["SIGINT", stop], ["SIGTERM", stop], ["SIGUSR2", report], ["SIGHUP", reload]];
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  return () => {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  };
}
