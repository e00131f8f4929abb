/**
 * One direction of a splice that has a rate: what may not go yet waits here, and its stream is not read
 * meanwhile.
 *
 * @module
 */

import type { Pace, PaceHandler } from "../flow/pace.ts";
import type { ByteStream } from "../flow/stream.ts";

export interface ValveOwner {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Something that waited has gone. */
  onMoved(): void;
}

export class Valve implements PaceHandler {
  readonly #owner: ValveOwner;
  readonly #from: ByteStream;
  readonly #to: ByteStream;
  #pace: Pace | undefined = undefined;
  /** What waits: from `#offset` to `#end`. It stays as it is until `#to` is done with it. */
  #buffer: Uint8Array = EMPTY;
  #offset = 0;
  #end = 0;
  /** For what is not lent. */
  #own: Uint8Array = EMPTY;
  /** The other stream takes no more for now. */
  #isFull = false;

  constructor(owner: ValveOwner, from: ByteStream, to: ByteStream) {
    this.#owner = owner;
    this.#from = from;
    this.#to = to;
  }

  /** Whether something waits here or is on its way: then {@link drained} is to be called. */
  get isHolding(): boolean {
    return this.#offset < this.#end || this.#isFull;
  }

  /** Takes what `StreamHandler.data` is given, and answers as it does. */
  write(
    pace: Pace,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isLent: boolean,
  ): boolean {
    this.#pace = pace;
    pace.handler = this;
    // Mostly all of it goes at once: then nothing is kept.
    if (length <= pace.portion && pace.take(length, this.#owner.now())) {
      this.#isFull = !this.#to.write(buffer, offset, length, isLent);
      return !this.#isFull;
    }
    this.#keep(buffer, offset, length, isLent);
    return length > pace.portion && this.#pump();
  }

  /** The other stream takes more. */
  drained(): void {
    this.#isFull = false;
    this.#goOn();
  }

  paceReady(): void {
    if (this.#isFull || this.#offset === this.#end) return;
    const before = this.#offset;
    this.#goOn();
    if (this.#offset !== before) this.#owner.onMoved();
  }

  /** One of the streams is gone: nothing goes any more. */
  close(): void {
    this.#offset = this.#end;
    if (this.#pace?.handler === this) this.#pace.handler = undefined;
  }

  #keep(buffer: Uint8Array, offset: number, length: number, isLent: boolean): void {
    if (!isLent) {
      if (this.#own.length < length) this.#own = new Uint8Array(length);
      this.#own.set(buffer.subarray(offset, offset + length));
      buffer = this.#own;
      offset = 0;
    }
    this.#buffer = buffer;
    this.#offset = offset;
    this.#end = offset + length;
  }

  #goOn(): void {
    if (this.#pump()) this.#from.resume();
  }

  /** @returns whether all has gone, and more can. */
  #pump(): boolean {
    const pace = this.#pace!;
    while (this.#offset < this.#end) {
      const length = Math.min(this.#end - this.#offset, pace.portion);
      if (!pace.take(length, this.#owner.now())) return false;
      const at = this.#offset;
      this.#offset += length;
      if (!this.#to.write(this.#buffer, at, length, true)) {
        this.#isFull = true;
        return false;
      }
    }
    this.#buffer = EMPTY; // it may be lent
    return true;
  }
}

const EMPTY = new Uint8Array(0);
