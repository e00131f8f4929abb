/**
 * Says who was refused, and why: a line each, but not more than a few a minute, for strangers decide how
 * many there are.
 *
 * @module
 */

import { getLogger } from "../../../log/logger.ts";

const log = getLogger(["wirestack", "relay"]);

/** Lines at once, and then one in so many ms. */
const BURST = 10;
const INTERVAL_MS = 6_000;

export class Refusals {
  /** Since the start. */
  count = 0;
  readonly #listener: string;
  #left = BURST;
  #at = performance.now();
  #suppressed = 0;

  /** @param listener What to call it: `tls:0.0.0.0:443`. */
  constructor(listener: string) {
    this.#listener = listener;
  }

  /** @param reason One line. */
  say(from: string, reason: string): void {
    this.count++;
    const now = performance.now();
    this.#left = Math.min(BURST, this.#left + (now - this.#at) / INTERVAL_MS);
    this.#at = now;
    if (this.#left < 1) {
      this.#suppressed++;
      return;
    }
    this.#left--;
    log.warn("{listener}: {from} is refused: {reason}", {
      listener: this.#listener,
      from,
      reason,
      suppressed: this.#suppressed,
    });
    this.#suppressed = 0;
  }
}
