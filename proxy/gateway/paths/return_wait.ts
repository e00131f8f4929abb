/**
 * When UDP is tried again after it was left: soon, later while it does not answer, and much later if
 * it does not hold what it promises. So a line that comes and goes is not followed in its every turn.
 *
 * @module
 */

import type { ChooserSettings } from "./settings.ts";

export class ReturnWait {
  /** ms; Infinity while UDP is used. */
  at = Infinity;
  readonly #settings: ChooserSettings;
  /** The first wait after a fall. */
  #baseMs: number;
  #waitMs: number;
  #returnedAt = -Infinity;

  constructor(settings: ChooserSettings) {
    this.#settings = settings;
    this.#baseMs = this.#waitMs = settings.returnMs;
  }

  /** UDP was left. */
  left(now: number): void {
    const { returnMs, relapseMs, maxReturnMs } = this.#settings;
    const isRelapse = now - this.#returnedAt < relapseMs;
    this.#baseMs = isRelapse ? Math.min(maxReturnMs, this.#baseMs * 2) : returnMs;
    this.#waitMs = this.#baseMs;
    this.at = now + this.#waitMs;
  }

  /** It was tried, and did not answer well enough. */
  failed(now: number): void {
    const most = Math.max(this.#baseMs, this.#settings.slowReturnMs);
    this.#waitMs = Math.min(most, this.#waitMs * 1.5);
    this.at = now + this.#waitMs;
  }

  /** It is used again. */
  returned(now: number): void {
    this.#returnedAt = now;
    this.at = Infinity;
  }
}
