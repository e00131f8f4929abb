/**
 * Datagrams in a stream: a length of 2 bytes, big-endian, then as many bytes of a datagram of
 * WireGuard's. A length of 0 is a heartbeat, one of 1 a farewell.
 *
 * @module
 */

import { free, freeOwn } from "./free.ts";

/** Bytes in front of each datagram. */
export const HEADER_SIZE = 2;
/** What the length can say. */
export const MAX_DATAGRAM = 65_535;
/** WireGuard's shortest message: a transport message without a packet. */
export const MIN_DATAGRAM = 32;

/** Of a frame that says why the stream ends. */
const FAREWELL_LENGTH = 1;

/** Chunks of a stream that hold whole frames alone. */
interface Segment {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  /** Nothing else lies in their memory. */
  readonly isAlone: boolean;
}

/**
 * Takes datagrams out of chunks of any size. Holds what it was given, and of a frame that has not come
 * as a whole a copy: nobody makes it keep 64 KiB with a byte of them in use.
 */
export class FrameReader {
  /** Why nothing can be found in the stream any more. */
  problem: string | undefined;
  /** What the other side has said last, see `farewell.ts`: nothing more is to come. */
  farewell: number | undefined;
  /** Frames without a datagram that have come. */
  heartbeats = 0;
  #segments: Segment[] = [];
  #head = 0;
  #size = 0;
  /** The beginning of a frame: all of its room, once its length is known. */
  #partial: Uint8Array | undefined;
  #have = 0;

  /** Bytes that it holds. */
  get size(): number {
    return this.#size + (this.#partial?.length ?? 0);
  }

  /** Whether {@link next} finds a datagram. */
  get hasNext(): boolean {
    return this.#head < this.#segments.length;
  }

  /**
   * Adds what has come. The bytes are the reader's from now on.
   *
   * @param isAlone Whether nothing else lies in their memory: else it is only freed if they are all of it.
   */
  push(bytes: Uint8Array, isAlone = false): void {
    let at = this.#partial === undefined ? 0 : this.#complete(bytes);
    const from = at;
    let hasDatagram = false;
    while (!this.#isOver && bytes.length - at >= HEADER_SIZE) {
      const length = bytes[at]! << 8 | bytes[at + 1]!;
      if (!this.#isFine(length) || bytes.length - at - HEADER_SIZE < length) break;
      if (length === FAREWELL_LENGTH) {
        this.farewell = bytes[at + HEADER_SIZE];
        break;
      }
      at += HEADER_SIZE + length;
      hasDatagram ||= length > 0;
    }
    if (hasDatagram) this.#add(bytes, from, at, isAlone);
    if (!this.#isOver && at < bytes.length) this.#begin(bytes, at);
  }

  /**
   * Takes the next datagram.
   *
   * @param out Where it is copied to, at `offset`: room for {@link MAX_DATAGRAM}.
   * @returns its length; 0 if there is none.
   */
  next(out: Uint8Array, offset: number): number {
    while (this.#head < this.#segments.length) {
      const segment = this.#segments[this.#head]!;
      const { bytes, at, end } = segment;
      const length = bytes[at]! << 8 | bytes[at + 1]!;
      segment.at = at + HEADER_SIZE + length;
      this.#size -= HEADER_SIZE + length;
      if (length > 0) out.set(bytes.subarray(at + HEADER_SIZE, segment.at), offset);
      if (segment.at === end) this.#shift();
      if (length > 0) return length;
    }
    return 0;
  }

  /** Forgets everything: another stream begins. */
  reset(): void {
    this.#segments.length =
      this.#head =
      this.#size =
      this.#have =
        0;
    this.#partial = this.problem = this.farewell = undefined;
  }

  get #isOver(): boolean {
    return this.problem !== undefined || this.farewell !== undefined;
  }

  #isFine(length: number): boolean {
    if (length === 0) this.heartbeats++;
    if (length <= FAREWELL_LENGTH || length >= MIN_DATAGRAM) return true;
    this.problem = `a frame of ${length} bytes, and a datagram has ${MIN_DATAGRAM} at least`;
    return false;
  }

  #add(bytes: Uint8Array, at: number, end: number, isAlone: boolean): void {
    this.#segments.push({ bytes, at, end, isAlone });
    this.#size += end - at;
  }

  /** Lets go of the first. Whoever sends without end would never have all of them taken at once. */
  #shift(): void {
    const { bytes, isAlone } = this.#segments[this.#head]!;
    if (isAlone) freeOwn(bytes);
    else free(bytes);
    if (++this.#head * 2 < this.#segments.length) return;
    this.#segments.splice(0, this.#head);
    this.#head = 0;
  }

  /** Keeps the beginning of a frame, whose length is known to be fine if it is there. */
  #begin(bytes: Uint8Array, at: number): void {
    const have = bytes.length - at;
    const length = have < HEADER_SIZE ? 0 : bytes[at]! << 8 | bytes[at + 1]!;
    this.#partial = new Uint8Array(HEADER_SIZE + length);
    this.#partial.set(bytes.subarray(at));
    this.#have = have;
  }

  /** Adds to the frame that has begun. @returns where in `bytes` the next one begins. */
  #complete(bytes: Uint8Array): number {
    let at = this.#fill(bytes, 0);
    let partial = this.#partial!;
    if (this.#have < partial.length) return at;
    if (partial.length === HEADER_SIZE) {
      const length = partial[0]! << 8 | partial[1]!;
      if (!this.#isFine(length)) return at;
      if (length > 0) {
        const header = partial;
        partial = this.#partial = new Uint8Array(HEADER_SIZE + length);
        partial.set(header);
        at = this.#fill(bytes, at);
        if (this.#have < partial.length) return at;
      }
    }
    this.#partial = undefined;
    if (partial.length === HEADER_SIZE + FAREWELL_LENGTH) this.farewell = partial[HEADER_SIZE];
    else if (partial.length > HEADER_SIZE) this.#add(partial, 0, partial.length, true);
    return at;
  }

  #fill(bytes: Uint8Array, at: number): number {
    const partial = this.#partial!;
    const count = Math.min(partial.length - this.#have, bytes.length - at);
    partial.set(bytes.subarray(at, at + count), this.#have);
    this.#have += count;
    return at + count;
  }
}
