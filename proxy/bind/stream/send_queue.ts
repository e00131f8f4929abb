/**
 * Datagrams that wait for a carrier. A carrier delivers everything in order, however late, and what is
 * late is of no use to who speaks through a tunnel: so the queue is short in bytes and in time, and
 * what has waited too long makes room, the oldest first.
 *
 * @module
 */

import type { StreamCounters } from "./counters.ts";
import { HEADER_SIZE } from "./frame_reader.ts";

/** A record of TLS, of 11 full datagrams. */
const CHUNK_SIZE = 16 << 10;
/** Of all carriers together, bytes that are kept for the next. */
const MOST_KEPT = 1 << 20;
/** Before the frames of a chunk, for what a carrier has to say before them, bytes. */
const ROOM = 24;
/** The age of frames is known to this, ms. */
const RESOLUTION_MS = 16;

export interface QueueLimits {
  /** Bytes of frames that wait. */
  readonly bytes: number;
  /** How long one may wait, ms. */
  readonly ageMs: number;
}

/**
 * With half as much a TCP inside that begins loses so much at once that it has to wait for a timeout: on a
 * line of 200 Mbit/s two transfers of four seconds in four had half of it.
 */
export const DEFAULT_QUEUE_LIMITS: QueueLimits = { bytes: 256 << 10, ageMs: 250 };

/** Whole frames, one after the other. */
export class Chunk {
  readonly buffer: Uint8Array<ArrayBuffer>;
  start = ROOM;
  end = ROOM;
  /** To be called when the bytes are not needed any more. */
  readonly done: () => void;
  /** When the frames behind a place came: `[place, time, place, time, …]`. */
  readonly marks: number[] = [];
  /** How many it holds, and their bytes: heartbeats and headers are none. */
  datagrams = 0;
  datagramBytes = 0;

  constructor(size: number, done: (chunk: Chunk) => void) {
    this.buffer = new Uint8Array(ROOM + size);
    this.done = () => done(this);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(this.start, this.end);
  }

  get room(): number {
    return this.buffer.length - this.end;
  }
}

/** Chunks that nobody uses at the moment, of all carriers of a bind. */
export class ChunkPool {
  readonly #free: Chunk[] = [];
  readonly #size: number;

  /** @param size Of a chunk, bytes: what is best written at once. */
  constructor(size = CHUNK_SIZE) {
    this.#size = size;
  }

  /** @param size Bytes that it must have room for. */
  take(size: number): Chunk {
    if (size > this.#size) return new Chunk(size, () => {});
    return this.#free.pop() ?? new Chunk(this.#size, (chunk) => this.give(chunk));
  }

  give(chunk: Chunk): void {
    chunk.start = chunk.end = ROOM;
    chunk.marks.length = chunk.datagrams = chunk.datagramBytes = 0;
    const { length } = chunk.buffer;
    if (length !== ROOM + this.#size || this.#free.length * length >= MOST_KEPT) return;
    this.#free.push(chunk);
  }
}

export class SendQueue {
  readonly #pool: ChunkPool;
  readonly #counters: StreamCounters;
  readonly #limits: QueueLimits;
  readonly #chunks: Chunk[] = [];
  #size = 0;
  /** Bytes that may wait, where that is less than {@link QueueLimits.bytes}. */
  limit = Infinity;

  constructor(pool: ChunkPool, counters: StreamCounters, limits: QueueLimits) {
    this.#pool = pool;
    this.#counters = counters;
    this.#limits = limits;
  }

  /** Bytes that wait, headers included. */
  get size(): number {
    return this.#size;
  }

  /** Since when the oldest waits, ms; Infinity for none. */
  get oldestAt(): number {
    return this.#chunks[0]?.marks[1] ?? Infinity;
  }

  /** Copies a datagram. An empty one is a heartbeat. What has no room beside it is dropped and counted. */
  push(buffer: Uint8Array, offset: number, length: number, now: number): void {
    const size = HEADER_SIZE + length;
    const most = Math.min(this.#limits.bytes, this.limit);
    while (this.#size > 0 && this.#size + size > most) {
      if (this.#dropOldest()) this.#counters.droppedFull++;
    }
    let chunk = this.#chunks[this.#chunks.length - 1];
    if (chunk === undefined || chunk.room < size) {
      chunk = this.#pool.take(size);
      this.#chunks.push(chunk);
    }
    const { marks, end, buffer: bytes } = chunk;
    if (marks.length === 0 || now - marks[marks.length - 1]! >= RESOLUTION_MS) marks.push(end, now);
    bytes[end] = length >>> 8;
    bytes[end + 1] = length;
    const isWhole = offset === 0 && length === buffer.length;
    bytes.set(isWhole ? buffer : buffer.subarray(offset, offset + length), end + HEADER_SIZE);
    chunk.end = end + size;
    if (length > 0) chunk.datagrams++;
    chunk.datagramBytes += length;
    this.#size += size;
  }

  /** The frames to be sent next, which are the caller's until it calls `done`; what is stale is dropped. */
  shift(now: number): Chunk | undefined {
    this.dropStale(now);
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) this.#size -= chunk.end - chunk.start;
    return chunk;
  }

  /** Drops, and counts, what has waited for too long. */
  dropStale(now: number): void {
    while (this.#size > 0 && now - this.#chunks[0]!.marks[1]! > this.#limits.ageMs) {
      if (this.#dropOldest()) this.#counters.droppedStale++;
    }
  }

  /** Drops all of it: the carrier is gone. */
  clear(): void {
    while (this.#size > 0) {
      if (this.#dropOldest()) this.#counters.droppedNoCarrier++;
    }
  }

  /** @returns whether it was a datagram, and not a heartbeat. */
  #dropOldest(): boolean {
    const chunk = this.#chunks[0]!;
    const { buffer, marks } = chunk;
    const length = buffer[chunk.start]! << 8 | buffer[chunk.start + 1]!;
    chunk.start += HEADER_SIZE + length;
    if (length > 0) chunk.datagrams--;
    chunk.datagramBytes -= length;
    this.#size -= HEADER_SIZE + length;
    while (marks.length > 2 && marks[2]! <= chunk.start) marks.splice(0, 2);
    if (chunk.start === chunk.end) {
      this.#chunks.shift();
      this.#pool.give(chunk);
    }
    return length > 0;
  }
}
