/**
 * Notices when this process, or the system, has no descriptors left: each connection and session needs
 * one, and nothing else would say why they fail.
 *
 * @module
 */

import { descriptorLimit } from "../../ffi/mod.ts";
import { getLogger } from "../log/logger.ts";
import { isOutOfDescriptors } from "./errno.ts";

const log = getLogger(["wirestack", "target"]);

/** What the process has open beside targets' sockets: files, the runtime's own, WireGuard's socket. */
const OTHERS = 64;

/**
 * Says so if there are fewer descriptors than there may be connections and sessions.
 *
 * @param needed Connections and sessions together.
 * @param limit Default: the system's, if this process may ask.
 */
export function checkDescriptorLimit(needed: number, ffi: boolean, limit = askLimit(ffi)): void {
  if (limit === undefined || limit >= needed + OTHERS) return;
  log.warn(
    "this process may open {limit} files, and MaxTcpConnections, MaxUdpSessions and MaxPingSessions together allow {needed} sockets: raise the limit (ulimit -n, LimitNOFILE=) or lower these",
    { limit, needed },
  );
}

function askLimit(ffi: boolean): number | undefined {
  try {
    if (ffi) return descriptorLimit();
    const line = /^Max open files\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/self/limits"));
    return line === null ? undefined : Number(line[1]);
  } catch {
    return undefined; // not permitted, or another system
  }
}

/** Without a failure for so long it is over, ms. */
const QUIET_MS = 5_000;

export class DescriptorWatch {
  /** Failures for lack of a descriptor since the start. */
  failures = 0;
  /** Milliseconds; Infinity while there are enough. */
  #quietAt = Infinity;
  #before = 0;
  readonly #now: () => number;
  readonly #wake: () => void;

  /** @param wake A deadline was set. */
  constructor(now: () => number, wake: () => void) {
    this.#now = now;
    this.#wake = wake;
  }

  get isExhausted(): boolean {
    return this.#quietAt !== Infinity;
  }

  /** A socket could not be opened. @param code The system's. @returns whether this is why. */
  note(code: string | undefined): boolean {
    if (!isOutOfDescriptors(code)) return false;
    if (!this.isExhausted) {
      this.#before = this.failures;
      log.warn(
        "no file descriptors are left ({code}): connections and sessions fail until some are",
        {
          code,
        },
      );
    }
    this.failures++;
    this.#quietAt = this.#now() + QUIET_MS;
    this.#wake();
    return true;
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#quietAt;
  }

  handleTimeout(now: number): void {
    if (now < this.#quietAt) return;
    this.#quietAt = Infinity;
    log.info("there are file descriptors again; {count} connections and sessions failed", {
      count: this.failures - this.#before,
    });
  }
}
