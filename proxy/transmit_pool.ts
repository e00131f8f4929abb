/**
 * The buffers that packets are built, sealed and sent in.
 *
 * @module
 */

import { LINK_HEADROOM, LINK_TAILROOM } from "../netstack/mod.ts";

const POOL_BYTES = 1 << 20;
const MIN_SLOTS = 64;
const MAX_SLOTS = 512;
const CACHE_LINE = 64;

/**
 * Equal slots of one backing store. A slot is free, taken (somebody builds a packet in it) or in
 * flight (an asynchronous send reads it). In flight it is not free before the send has settled:
 * until then the kernel's copy has not been made.
 */
export class TransmitPool {
  readonly buffer: Uint8Array;
  /** Bytes from one slot to the next. */
  readonly slotSize: number;
  readonly slots: number;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #inFlight: Uint8Array;

  /** @param mtu Bytes of the largest packet, without head and tail room. */
  constructor(mtu: number) {
    const size = LINK_HEADROOM + mtu + LINK_TAILROOM;
    this.slotSize = Math.ceil(size / CACHE_LINE) * CACHE_LINE;
    this.slots = Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, Math.floor(POOL_BYTES / this.slotSize)));
    this.buffer = new Uint8Array(this.slots * this.slotSize);
    this.#free = Int32Array.from({ length: this.slots }, (_, i) => this.slots - 1 - i);
    this.#freeCount = this.slots;
    this.#inFlight = new Uint8Array(this.slots);
  }

  /** Slots that can be taken. */
  get free(): number {
    return this.#freeCount;
  }

  /** @returns Where a slot starts in {@link buffer}, or -1 if none is free. */
  take(): number {
    if (this.#freeCount === 0) return -1;
    return this.#free[--this.#freeCount]! * this.slotSize;
  }

  /** Frees the slot that `offset` lies in. */
  give(offset: number): void {
    const slot = (offset / this.slotSize) | 0;
    this.#inFlight[slot] = 0;
    this.#free[this.#freeCount++] = slot;
  }

  /** Marks the slot that `offset` lies in: it is given back when its send has settled. */
  setInFlight(offset: number): void {
    this.#inFlight[(offset / this.slotSize) | 0] = 1;
  }

  isInFlight(offset: number): boolean {
    return this.#inFlight[(offset / this.slotSize) | 0] === 1;
  }
}
