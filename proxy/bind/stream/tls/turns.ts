/**
 * Handshakes cost some 2 ms each, whoever asks for them: so many a second begin, and while more wait,
 * addresses take turns.
 *
 * @module
 */

export class Turns {
  /** By address, in turn. */
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #at = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param burst How many may begin at once, after a quiet time. */
  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#left = burst;
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
    const now = performance.now();
    this.#left = Math.min(
      this.#burst,
      this.#left + (now - this.#at) * this.#perSecond / 1000,
    );
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }

  #wake(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#run();
      this.#wake();
    }, 1000 / this.#perSecond);
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
