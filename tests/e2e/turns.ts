/**
 * Whose turn it is: labs make much that needs time, so a few stand at once, and where time or
 * throughput is measured one alone. Locks of files hold among all processes and test files of a run,
 * and end with whoever has them.
 *
 * @module
 */

/** Files that are there; locked, not read. Who waits at the gate is the next. */
const GATE = new URL(import.meta.url);
/** One for each lab that may stand beside others. */
const PLACES = ["./lab.ts", "./process.ts"].map((path) => new URL(path, import.meta.url));
const INTERVAL_MS = 20;

/** A turn, until it is disposed. */
export class Turn implements Disposable {
  /** Distinguishes what has a name from that of other labs of this time. */
  readonly place: number;
  readonly #held: Deno.FsFile[];

  private constructor(place: number, held: Deno.FsFile[]) {
    this.place = place;
    this.#held = held;
  }

  /** @param isExclusive No other lab stands meanwhile. */
  static async wait(isExclusive: boolean): Promise<Turn> {
    using gate = await Deno.open(GATE);
    await gate.lock(true);
    return isExclusive ? await Turn.#all() : await Turn.#one();
  }

  static async #all(): Promise<Turn> {
    const files = await Promise.all(PLACES.map((url) => Deno.open(url)));
    for (const file of files) await file.lock(true);
    return new Turn(0, files);
  }

  static async #one(): Promise<Turn> {
    const files = await Promise.all(PLACES.map((url) => Deno.open(url)));
    for (;;) {
      for (const [place, file] of files.entries()) {
        if (!file.tryLockSync(true)) continue;
        for (const other of files) if (other !== file) other.close();
        return new Turn(place, [file]);
      }
      await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    }
  }

  [Symbol.dispose](): void {
    for (const file of this.#held) file.close();
  }
}
