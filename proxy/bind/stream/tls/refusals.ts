/**
 * Says who was refused, and why: a line each, but not more than a few a minute, for strangers decide how
 * many there are.
 *
 * @module
 */

import { TokenBucket } from "../../../../netstack/mod.ts";
import { getLogger } from "../../../log/logger.ts";

const log = getLogger(["wirestack", "relay"]);

/** Lines at once, and then one in so many ms. */
const BURST = 10;
const INTERVAL_MS = 6_000;

export class Refusals {
  readonly #listener: string;
  readonly #lines = new TokenBucket(1000 / INTERVAL_MS, BURST);
  #suppressed = 0;

  /** @param listener What to call it: `tls:0.0.0.0:443`. */
  constructor(listener: string) {
    this.#listener = listener;
  }

  /** @param reason One line. */
  say(from: string, reason: string): void {
    if (!this.#lines.take(performance.now(), 1)) {
      this.#suppressed++;
      return;
    }
    log.warn("{listener}: {from} is refused: {reason}", {
      listener: this.#listener,
      from,
      reason,
      suppressed: this.#suppressed,
    });
    this.#suppressed = 0;
  }
}
