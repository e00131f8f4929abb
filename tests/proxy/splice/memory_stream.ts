/**
 * A byte stream whose other end is the test. It keeps to the contract of {@link ByteStream} to the
 * letter: what it lends is spoilt as soon as it may be.
 *
 * @module
 */

import type { ByteStream, StreamError, StreamHandler } from "../../../proxy/flow/stream.ts";

export interface MemoryStreamOptions {
  /** Bytes that wait to be read at the other end. */
  readonly capacity: number;
  /** Bytes handed on at once. */
  readonly chunk: number;
  /** Whether what it hands on is lent until `resume`. */
  readonly lends: boolean;
}

export class MemoryStream implements ByteStream {
  handler: StreamHandler | undefined = undefined;
  readonly appetite = 65_536;
  readonly rttMs = 3;
  /** What the other end sees: nothing yet, the end of file, or a reset. */
  seen: "open" | "end" | "reset" = "open";
  readonly #options: MemoryStreamOptions;
  /** To the other end: in the queue, then the rest of the last write. */
  #queue: number[] = [];
  #rest: Uint8Array | undefined;
  #isToEnd = false;
  /** From the other end. */
  #incoming: number[] = [];
  #hasEnd = false;
  #hasTold = false;
  #lent: Uint8Array | undefined;
  #isStopped = false;
  #isDraining = false;
  #isClosed = false;

  constructor(options: MemoryStreamOptions) {
    this.#options = options;
  }

  /** Bytes held for the other end. */
  get held(): number {
    return this.#queue.length + (this.#rest?.length ?? 0);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The other end's: sends. */
  send(bytes: Iterable<number>): void {
    if (this.#hasEnd || this.#isClosed) return;
    this.#incoming.push(...bytes);
    this.#deliver();
  }

  /** The other end's: sends FIN. */
  finish(): void {
    this.#hasEnd = true;
    this.#deliver();
  }

  /** The other end's: breaks off. */
  break(error: StreamError): void {
    if (this.#isClosed) return;
    this.#close(error);
  }

  /** The other end's: reads. */
  receive(most: number): number[] {
    const bytes = this.#queue.splice(0, most);
    const rest = this.#rest;
    if (rest !== undefined) {
      const room = this.#options.capacity - this.#queue.length;
      this.#queue.push(...rest.subarray(0, room));
      this.#rest = rest.length > room ? rest.subarray(room) : undefined;
      if (this.#rest === undefined) this.handler?.drained(this);
    }
    this.#settle();
    return bytes;
  }

  write(buffer: Uint8Array, offset: number, length: number, isLent: boolean): boolean {
    if (this.#rest !== undefined || this.#isToEnd || this.#isClosed) throw new Error("not now");
    const room = Math.min(length, this.#options.capacity - this.#queue.length);
    this.#queue.push(...buffer.subarray(offset, offset + room));
    if (room === length) return true;
    const rest = buffer.subarray(offset + room, offset + length);
    this.#rest = isLent ? rest : rest.slice();
    return false;
  }

  preface(bytes: Uint8Array): void {
    this.#queue.push(...bytes);
  }

  end(): void {
    this.#isToEnd = true;
    this.#settle();
  }

  resume(): void {
    this.#lent?.fill(0xee);
    this.#lent = undefined;
    this.#isStopped = false;
    this.#deliver();
  }

  reset(): void {
    if (this.#isClosed) throw new Error("it is closed");
    this.handler = undefined;
    this.#isClosed = true;
    this.seen = "reset";
  }

  resetOnceDelivered(): void {
    this.#isDraining = true;
    this.#settle();
  }

  #deliver(): void {
    const { chunk, lends } = this.#options;
    while (!this.#isStopped && this.#incoming.length > 0 && this.handler !== undefined) {
      const bytes = Uint8Array.from(this.#incoming.splice(0, chunk));
      const buffer = new Uint8Array(bytes.length + 2);
      buffer.set(bytes, 1);
      this.#isStopped = !this.handler.data(this, buffer, 1, bytes.length, lends);
      if (this.#isStopped && lends) this.#lent = buffer;
      else buffer.fill(0xee);
    }
    if (this.#hasEnd && !this.#hasTold && !this.#isStopped && this.#incoming.length === 0) {
      this.#hasTold = true;
      this.handler?.ended(this);
      this.#settle();
    }
  }

  /** What follows from everything having been read. */
  #settle(): void {
    if (this.#isClosed || this.held > 0) return;
    if (this.#isDraining) {
      this.seen = "reset";
      this.#close("reset");
    } else if (this.#isToEnd) {
      this.seen = "end";
      if (this.#hasTold) this.#close(undefined);
    }
  }

  #close(error: StreamError | undefined): void {
    this.#isClosed = true;
    const { handler } = this;
    this.handler = undefined;
    handler?.closed(this, error);
  }
}
