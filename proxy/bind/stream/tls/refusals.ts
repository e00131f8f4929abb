/**
 * Says who was refused, or refuses, and why: a line each, but not more than a few a minute, for others
 * decide how many there are.
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
    if (!this.#mayBeSaid()) return;
    log.warn("{listener}: {from} is refused: {reason}", {
      listener: this.#listener,
      from,
      reason,
      suppressed: this.#suppressed,
    });
    this.#suppressed = 0;
  }

  /**
   * It is the other side that goes.
   *
   * @param name Of its own certificate, which is good.
   * @param reason Behind `the certificate that is shown here`.
   */
  sayRefusing(from: string, name: string, reason: string): void {
    if (!this.#mayBeSaid()) return;
    log.warn("{listener}: {name} from {from} goes: the certificate that is shown here {reason}", {
      listener: this.#listener,
      name,
      from,
      reason,
      suppressed: this.#suppressed,
    });
    this.#suppressed = 0;
  }

  #mayBeSaid(): boolean {
    const isSaid = this.#lines.take(performance.now(), 1);
    if (!isSaid) this.#suppressed++;
    return isSaid;
  }
}
