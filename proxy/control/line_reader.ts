/**
 * Lines from a socket: bounded, and within a time.
 *
 * @module
 */

/** What ends a connection early. */
export class ReadFailure extends Error {
  override readonly name = "ReadFailure";
}

export interface LineLimits {
  /** Bytes of a line. */
  readonly lineBytes: number;
  /** Bytes between two {@link LineReader.begin}. */
  readonly totalBytes: number;
}

const NEWLINE = 0x0a;

export class LineReader {
  readonly #conn: Pick<Deno.Conn, "read" | "close">;
  readonly #limits: LineLimits;
  readonly #buffer: Uint8Array;
  #start = 0;
  #end = 0;
  #total = 0;
  #deadline = Infinity;

  constructor(conn: Pick<Deno.Conn, "read" | "close">, limits: LineLimits) {
    this.#conn = conn;
    this.#limits = limits;
    this.#buffer = new Uint8Array(limits.lineBytes);
  }

  /** Restarts the count of bytes; from now on what is read must arrive within `limitMs`. */
  begin(limitMs: number): void {
    this.#total = 0;
    this.#deadline = performance.now() + limitMs;
  }

  /**
   * A line without its end, each byte a character. The last may lack its end.
   *
   * @returns null at the end of what comes.
   * @throws {ReadFailure} beyond a limit. The connection is closed when that is the time.
   */
  async line(): Promise<string | null> {
    for (let scanned = this.#start;;) {
      const newline = this.#buffer.subarray(0, this.#end).indexOf(NEWLINE, scanned);
      if (newline >= 0) return this.#take(newline, newline + 1);
      scanned = this.#end - this.#start;
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#start = 0;
      this.#end = scanned;
      if (this.#end === this.#buffer.length) throw new ReadFailure("a line is too long");
      const length = await this.#read();
      if (length === null) return this.#end === 0 ? null : this.#take(this.#end, this.#end);
      this.#end += length;
    }
  }

  /** Resolves when nothing more comes, however long that takes; what comes until then is not looked at. */
  async ended(): Promise<void> {
    while (await this.#conn.read(this.#buffer) !== null);
  }

  #take(end: number, next: number): string {
    const line = String.fromCharCode(...this.#buffer.subarray(this.#start, end));
    this.#total += next - this.#start;
    this.#start = next;
    if (this.#total > this.#limits.totalBytes) throw new ReadFailure("a request is too long");
    return line;
  }

  async #read(): Promise<number | null> {
    let isLate = false;
    // Only closing ends a read for which nothing arrives.
    const timer = setTimeout(() => {
      isLate = true;
      this.#conn.close();
    }, Math.max(0, this.#deadline - performance.now()));
    try {
      return await this.#conn.read(this.#buffer.subarray(this.#end));
    } catch (error) {
      if (isLate) throw new ReadFailure("nothing came in time");
      throw new ReadFailure(error instanceof Error ? error.message : String(error));
    } finally {
      clearTimeout(timer);
    }
  }
}
