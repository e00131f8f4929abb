/**
 * Lines on their way to a file, or to a stream of this process, without anybody waiting for them: what
 * is not written yet is kept up to a bound, the rest is dropped and counted. A full disk ends nothing.
 *
 * @module
 */

/** Where lines end up: what `Deno.FsFile` and `Deno.stderr` have. */
export interface LineSink {
  write(bytes: Uint8Array): Promise<number>;
  writeSync(bytes: Uint8Array): number;
  /** Missing for a stream that is not ours to close. */
  close?(): void;
}

export interface LineFileOptions {
  /** Opens it: at once, with {@link LineFile.reopen}. */
  open(): LineSink;
  /** Bytes that may wait. Default 1 MiB. */
  readonly maxWaiting?: number;
  /** How long to wait after a failed write, ms. Default 1,000. */
  readonly retryMs?: number;
  /** Called once when writing fails, and once when it works again or lines were lost. */
  onTrouble(trouble: LineTrouble): void;
}

export interface LineTrouble {
  /** Why nothing can be written; undefined when it can be again. */
  readonly error: Error | undefined;
  /** Lines lost since the trouble began. */
  readonly lost: number;
}

const MAX_WAITING = 1 << 20;
const RETRY_MS = 1_000;
/** Of one write. */
const BATCH_BYTES = 64 << 10;
/** The least time between two reports of lines lost to a slow disk, ms. */
const TELL_EVERY_MS = 10_000;
const LINE_FEED = 10;
/** How long closing waits for a write under way, ms. */
const CLOSE_MS = 1_000;

export class LineFile {
  readonly #options: LineFileOptions;
  #sink: LineSink | undefined;
  /** Lines, each with its line feed, in the order in which they came. */
  #waiting: string[] = [];
  #waitingBytes = 0;
  /** What is being written, and how much of it has been. */
  #batch = new Uint8Array(0);
  #sent = 0;
  #pump: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #mustReopen = false;
  #isTroubled = false;
  #isClosed = false;
  /** Lines lost that nobody has been told of, and the others. */
  #lost = 0;
  #lostBefore = 0;
  #toldAt = -Infinity;

  /** @throws {Error} of the system, if it cannot be opened. */
  constructor(options: LineFileOptions) {
    this.#options = options;
    this.#sink = options.open();
  }

  /** Lines that were dropped since the start. */
  get lost(): number {
    return this.#lostBefore + this.#lost;
  }

  /** Characters that wait to be written. */
  get waiting(): number {
    return this.#waitingBytes + this.#batch.length - this.#sent;
  }

  /** @param line With its line feed. */
  write(line: string): void {
    const { maxWaiting = MAX_WAITING } = this.#options;
    if (this.#isClosed || this.#waitingBytes + line.length > maxWaiting) {
      this.#lost++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    this.#pump ??= this.#run();
  }

  /**
   * Opens the path once more: what was there has been given another name. If that fails, it is
   * reported, and the file stays what it was.
   */
  reopen(): void {
    this.#mustReopen = true;
    this.#wake?.();
    this.#pump ??= this.#run();
  }

  /** Writes what waits, for a second at most, and closes it. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wake?.();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), CLOSE_MS);
    });
    const result = await Promise.race([this.#pump, limit]);
    clearTimeout(timer);
    // A pipe that nobody reads would hold this process back.
    if (result !== "late") this.#writeRest();
    this.#sink?.close?.();
    this.#sink = undefined;
  }

  async #run(): Promise<void> {
    try {
      while (!this.#isClosed && (this.#mustReopen || this.waiting > 0)) {
        try {
          if (this.#mustReopen) this.#reopen();
          await this.#writeSome();
          this.#over();
        } catch (error) {
          this.#failed(error as Error);
          if (!this.#isClosed) await this.#pause();
        }
      }
    } finally {
      this.#pump = undefined;
    }
  }

  async #writeSome(): Promise<void> {
    this.#nextBatch();
    while (this.#sent < this.#batch.length) {
      this.#sent += await this.#open().write(this.#batch.subarray(this.#sent));
    }
  }

  #nextBatch(): void {
    if (this.#sent < this.#batch.length) return;
    let count = 0;
    for (let bytes = 0; count < this.#waiting.length && bytes < BATCH_BYTES; count++) {
      bytes += this.#waiting[count]!.length;
    }
    const text = this.#waiting.splice(0, count).join("");
    this.#waitingBytes -= text.length;
    this.#batch = new TextEncoder().encode(text);
    this.#sent = 0;
  }

  #open(): LineSink {
    return this.#sink ??= this.#options.open();
  }

  #reopen(): void {
    this.#mustReopen = false;
    let next: LineSink;
    try {
      next = this.#options.open();
    } catch (error) { // the one that is open still takes lines
      this.#options.onTrouble({ error: error as Error, lost: this.#lost });
      return;
    }
    this.#sink?.close?.();
    this.#sink = next;
    if (this.#sent === 0 || this.#batch[this.#sent - 1] === LINE_FEED) return;
    // The full disk cut a line off: its end does not begin the next file.
    const end = this.#batch.indexOf(LINE_FEED, this.#sent);
    this.#sent = end < 0 ? this.#batch.length : end + 1;
    this.#lost++;
  }

  #failed(error: Error): void {
    if (this.#isTroubled) return;
    this.#isTroubled = true;
    this.#options.onTrouble({ error, lost: this.#lost });
  }

  #over(): void {
    if (!this.#isTroubled && this.#lost === 0) return;
    // A disk that is slow, not full, is spoken of now and then.
    const now = performance.now();
    if (!this.#isTroubled && now - this.#toldAt < TELL_EVERY_MS) return;
    this.#toldAt = now;
    const lost = this.#lost;
    this.#isTroubled = false;
    this.#lostBefore += lost;
    this.#lost = 0;
    this.#options.onTrouble({ error: undefined, lost });
  }

  async #pause(): Promise<void> {
    const { retryMs = RETRY_MS } = this.#options;
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, retryMs);
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }

  #writeRest(): void {
    try {
      if (this.#mustReopen) this.#reopen();
      while (this.waiting > 0) {
        this.#nextBatch();
        this.#sent += this.#open().writeSync(this.#batch.subarray(this.#sent));
      }
    } catch {
      // The last lines are lost with the disk that has no room for them.
    }
  }
}
