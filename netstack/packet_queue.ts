/**
 * Packets that wait for the flush.
 *
 * @module
 */

import { copyBytes } from "./bytes.ts";
import type { NextHop } from "./link.ts";

/** Bytes that may wait; reached only when nobody flushes or the link is full. */
const LIMIT = 512 << 10;
const SMALLEST = 4 << 10;

/**
 * Complete packets that wait for the flush, in one arena: ICMP, echo replies, datagrams to fragment.
 * Grows from nothing to a fixed limit; what does not fit is dropped by the caller.
 */
export class PacketQueue {
  #arena: Uint8Array = new Uint8Array(0);
  /** End of the last packet in the arena. */
  #end = 0;
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  readonly #hops: (NextHop | undefined)[] = [];
  #head = 0;

  /** Bytes of the first packet's payload that went out already, as fragments. */
  progress = 0;
  /** The first packet's identification as IPv6 fragments; -1 = none given yet. */
  identification = -1;

  get isEmpty(): boolean {
    return this.#head === this.#offsets.length;
  }

  /** Holds all packets. Changes when the queue grows. */
  get buffer(): Uint8Array {
    return this.#arena;
  }

  /** Offset of the first packet in {@link buffer}. */
  get offset(): number {
    return this.#offsets[this.#head]!;
  }

  /** Of the first packet. */
  get length(): number {
    return this.#lengths[this.#head]!;
  }

  /** Of the first packet. */
  get hop(): NextHop | undefined {
    return this.#hops[this.#head];
  }

  /**
   * Appends a packet of `length` bytes, for the caller to write at once.
   *
   * @param hop Of the flow it belongs to, if there is one.
   * @returns Its offset in {@link buffer}; -1 when the queue is full.
   */
  reserve(length: number, hop?: NextHop): number {
    const offset = this.#end;
    const end = offset + length;
    if (end > LIMIT) return -1;
    if (end > this.#arena.length) {
      const grown = new Uint8Array(Math.min(LIMIT, Math.max(SMALLEST, end, 2 * offset)));
      copyBytes(this.#arena, 0, grown, 0, offset);
      this.#arena = grown;
    }
    this.#end = end;
    this.#offsets.push(offset);
    this.#lengths.push(length);
    this.#hops.push(hop);
    return offset;
  }

  /** Drops the first packet. */
  shift(): void {
    this.#head++;
    this.progress = 0;
    this.identification = -1;
    if (this.isEmpty) this.clear();
  }

  clear(): void {
    this.#offsets.length = 0;
    this.#lengths.length = 0;
    this.#hops.length = 0;
    this.#head = 0;
    this.#end = 0;
    this.progress = 0;
    this.identification = -1;
  }
}
