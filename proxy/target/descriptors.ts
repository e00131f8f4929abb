/**
 * Notices when this process, or the system, has no descriptors left: each connection and session needs
 * one, and nothing else would say why they fail.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { isOutOfDescriptors } from "./errno.ts";

const log = getLogger(["wirestack", "target"]);

/** Without a failure for so long it is over, ms. */
const QUIET_MS = 5_000;

export class DescriptorWatch {
  /** What failed for want of a descriptor, since the start. */
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

  /** A socket could not be had. @param code Of the system. @returns whether this is why. */
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
