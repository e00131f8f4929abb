/**
 * The buffers that packets are built, sealed and sent in.
 *
 * @module
 */

import { LINK_HEADROOM, LINK_TAILROOM, type MemoryRegion } from "../../netstack/mod.ts";

const POOL_BYTES = 1 << 20;
const MIN_SLOTS = 64;
const MAX_SLOTS = 512;
const CACHE_LINE = 64;

/**
 * Slots of one size in one backing store. A slot's owner gives it back or passes it on: `transmit` and
 * `send` return whether they have taken it over. A bind that has gives it back when the send has
 * settled; until then the kernel may not have copied it.
 */
export class TransmitPool {
  /** What slots are offsets in. May hold other things beside them. */
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** Bytes from one slot to the next. */
  readonly slotSize: number;
  readonly slots: number;
  /** Called when a slot is wanted and none is free: may give back what is in flight. */
  onExhausted: (() => void) | undefined;
  /** Slots set aside for senders that have had to wait for one; see {@link isSpokenFor}. */
  reserved = 0;
  readonly #start: number;
  readonly #free: Int32Array;
  #freeCount: number;
  /** 1 for a slot that is taken. */
  readonly #taken: Uint8Array;

  /** Bytes of one slot for packets of up to `mtu` bytes. */
  static slotBytes(mtu: number): number {
    return slotSize(mtu);
  }

  /** Bytes of slots for packets of up to `mtu` bytes, without head and tail room. */
  static bytes(mtu: number): number {
    const size = slotSize(mtu);
    return size * Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, Math.floor(POOL_BYTES / size)));
  }

  /**
   * @param mtu Bytes of the largest packet, without head and tail room.
   * @param region Where the slots are; default a buffer of their own.
   * @throws {RangeError} if not a single slot has room there.
   */
  constructor(mtu: number, region: MemoryRegion = ownRegion(TransmitPool.bytes(mtu))) {
    this.slotSize = slotSize(mtu);
    this.slots = Math.floor(region.length / this.slotSize);
    if (this.slots < 1) {
      throw new RangeError(`a slot needs ${this.slotSize} bytes, got ${region.length}`);
    }
    this.buffer = region.memory;
    this.#start = region.offset;
    this.#free = Int32Array.from({ length: this.slots }, (_, i) => this.slots - 1 - i);
    this.#freeCount = this.slots;
    this.#taken = new Uint8Array(this.slots);
  }

  /** Slots that can be taken. */
  get free(): number {
    return this.#freeCount;
  }

  /** Whether only reserved slots are left. For bulk senders, which can do without a slot. */
  get isSpokenFor(): boolean {
    return this.reserved > 0 && this.#freeCount <= this.reserved;
  }

  /** @returns Where a slot starts in {@link buffer}, or -1 if none is free. */
  take(): number {
    if (this.#freeCount === 0) {
      this.onExhausted?.();
      if (this.#freeCount === 0) return -1;
    }
    const slot = this.#free[--this.#freeCount]!;
    this.#taken[slot] = 1;
    return this.#start + slot * this.slotSize;
  }

  /** @returns Where a packet starts in a slot that is free, or -1. */
  allocate(): number {
    const slot = this.take();
    return slot < 0 ? -1 : slot + LINK_HEADROOM;
  }

  /**
   * Frees the slot that `offset` lies in.
   *
   * @throws {Error} if it is free: two packets would be built in it.
   */
  give(offset: number): void {
    const slot = this.#slot(offset);
    if (this.#taken[slot] === 0) throw new Error(`slot ${slot} was given back twice`);
    this.#taken[slot] = 0;
    this.#free[this.#freeCount++] = slot;
  }

  #slot(offset: number): number {
    return ((offset - this.#start) / this.slotSize) | 0;
  }
}

function slotSize(mtu: number): number {
  return Math.ceil((LINK_HEADROOM + mtu + LINK_TAILROOM) / CACHE_LINE) * CACHE_LINE;
}

/** Memory of its own. @param length Bytes. */
export function ownRegion(length: number): MemoryRegion {
  return { memory: new Uint8Array(length), offset: 0, length };
}
