/**
 * Lines in a file that tells, however its process ends, what that has begun and not ended: one for each
 * beginning, one for each end. When most of it is over it is made shorter, in place: who writes it may
 * be another user by then, who may make no file.
 *
 * @module
 */

/** The file is made shorter when it is longer than this, and half of it is over. */
const SPARE_BYTES = 64 << 10;
const NEWLINE = "\n".charCodeAt(0);

/** An open file that nobody else writes to. */
export interface WrittenFile {
  writeSync(bytes: Uint8Array): number;
  seekSync(offset: number, whence: Deno.SeekMode): number;
  truncateSync(length: number): void;
}

export class StateLines {
  readonly #file: WrittenFile;
  readonly #head: Uint8Array;
  /** What has begun, in order. */
  readonly #begun: Map<number, Uint8Array>;
  /** It is not made shorter before it is so long. */
  #shortenAt = SPARE_BYTES;

  /**
   * @param head Stands before all else.
   * @param begun What the file has of it already, by number.
   */
  constructor(
    file: WrittenFile,
    head: unknown,
    begun: Iterable<readonly [number, unknown]> = [],
  ) {
    this.#file = file;
    this.#head = lineOf(head);
    this.#begun = new Map(Array.from(begun, ([number, line]) => [number, lineOf(line)]));
  }

  /** Writes the head, into an empty file. @throws {Error} of the system. */
  writeHead(): void {
    this.#append(this.#head);
  }

  /** @throws {Error} of the system. */
  begin(number: number, line: unknown): void {
    const bytes = lineOf(line);
    this.#append(bytes);
    this.#begun.set(number, bytes);
  }

  /** @param line Says that what has this number is over. @throws {Error} of the system. */
  end(number: number, line: unknown): void {
    const size = this.#append(lineOf(line));
    this.#begun.delete(number);
    if (size >= this.#shortenAt) this.#shorten(size);
  }

  /**
   * All that counts is written behind first, where it stands until it is at the beginning: whoever reads
   * at any moment between finds it, once or twice, and may find a line of which a part is missing.
   */
  #shorten(size: number): void {
    const lines = [this.#head, ...this.#begun.values()];
    const length = lines.reduce((sum, line) => sum + line.length, 0);
    this.#shortenAt = size + SPARE_BYTES;
    if (2 * length > size) return;
    try {
      for (const line of lines) this.#append(line);
    } catch {
      return; // no room: it is all there, and tried again when there is more of it
    }
    this.#writeAt(0, new Uint8Array(size).fill(NEWLINE));
    let at = 0;
    for (const line of lines) {
      this.#writeAt(at, line);
      at += line.length;
    }
    this.#file.truncateSync(length);
    this.#shortenAt = Math.max(SPARE_BYTES, 2 * length);
  }

  /** @returns the file's size, bytes. */
  #append(bytes: Uint8Array): number {
    const end = this.#file.seekSync(0, Deno.SeekMode.End);
    this.#write(bytes);
    return end + bytes.length;
  }

  #writeAt(offset: number, bytes: Uint8Array): void {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    this.#write(bytes);
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}

/** Ends what was cut off before it, too. */
function lineOf(line: unknown): Uint8Array {
  return new TextEncoder().encode(`\n${JSON.stringify(line)}\n`);
}
