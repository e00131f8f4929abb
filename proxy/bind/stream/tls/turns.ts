/**
 * Handshakes cost some 2 ms each, whoever asks for them: so many a second begin, and while more wait,
 * addresses take turns.
 *
 * @module
 */

import { TokenBucket } from "../../../../netstack/mod.ts";

export class Turns {
  /** By address, in turn. */
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #intervalMs: number;
  readonly #starts: TokenBucket;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param burst How many may begin at once, after a quiet time. */
  constructor(perSecond: number, burst: number) {
    this.#intervalMs = 1000 / perSecond;
    this.#starts = new TokenBucket(perSecond, burst);
  }

  /** Calls `begin` when its turn has come, perhaps at once. @returns what calls that off. */
  wait(address: string, begin: () => void): () => void {
    if (this.#waiting.size === 0 && this.#take()) {
      begin();
      return () => {};
    }
    const same = this.#waiting.get(address);
    if (same === undefined) this.#waiting.set(address, new Set([begin]));
    else same.add(begin);
    this.#wake();
    return () => this.#remove(address, begin);
  }

  #take(): boolean {
    return this.#starts.take(performance.now(), 1);
  }

  #wake(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#run();
      this.#wake();
    }, this.#intervalMs);
  }

  #run(): void {
    while (this.#waiting.size > 0 && this.#take()) {
      const [address, begins] = this.#waiting.entries().next().value!;
      const [begin] = begins;
      begins.delete(begin!);
      this.#waiting.delete(address);
      if (begins.size > 0) this.#waiting.set(address, begins); // behind the others
      begin!();
    }
  }

  #remove(address: string, begin: () => void): void {
    const same = this.#waiting.get(address);
    if (!same?.delete(begin) || same.size > 0) return;
    this.#waiting.delete(address);
    if (this.#waiting.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
