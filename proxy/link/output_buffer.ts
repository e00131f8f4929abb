/**
 * What a stream link has to send: framed packets, collected while the bytes before them are written.
 *
 * @module
 */

import { TransmitPool } from "../arena/transmit_pool.ts";
import { copyBytes } from "../../netstack/mod.ts";
import { headerLength, type StreamFraming, writeHeader } from "./framing.ts";

/** Bytes that may wait, and as many that are being written. */
const CAPACITY = 256 << 10;
/** Packets of the stack that are being built at once; it builds one after the other. */
const SLOTS = 4;

export class OutputBuffer {
  /** Slots first, then the two halves: a packet is moved within one buffer. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #framing: StreamFraming;
  readonly #header: 2 | 4;
  readonly #largest: number;
  readonly #halves: readonly [number, number];
  readonly #slots: TransmitPool;
  #filling: 0 | 1 = 0;
  /** Bytes in the half that is filled. */
  #filled = 0;

  /** @param mtu Of the packets that are built here, bytes. */
  constructor(framing: StreamFraming, mtu: number) {
    this.#framing = framing;
    this.#header = headerLength(framing);
    this.#largest = this.#header + mtu;
    const first = SLOTS * TransmitPool.slotBytes(mtu);
    this.#halves = [first, first + CAPACITY];
    this.bytes = new Uint8Array(first + 2 * CAPACITY);
    this.#slots = new TransmitPool(mtu, { memory: this.bytes, offset: 0, length: first });
  }

  /** Bytes that wait. */
  get waiting(): number {
    return this.#filled;
  }

  /** Whether another packet of the largest size fits. */
  get hasRoom(): boolean {
    return this.#filled + this.#largest <= CAPACITY;
  }

  /** Takes a slot for a packet to be built in; -1 if none is free. */
  take(): number {
    return this.#slots.allocate();
  }

  give(slot: number): void {
    this.#slots.give(slot);
  }

  /** Puts a packet behind what waits. @returns whether it fits. */
  push(buffer: Uint8Array, offset: number, length: number): boolean {
    const total = this.#header + length;
    if (this.#filled + total > CAPACITY) return false;
    const at = this.#halves[this.#filling]! + this.#filled;
    writeHeader(this.#framing, this.bytes, at, length);
    copyBytes(buffer, offset, this.bytes, at + this.#header, length);
    this.#filled += total;
    return true;
  }

  /** Everything that waits, to be written before this is called again. */
  swap(): Uint8Array<ArrayBuffer> {
    const at = this.#halves[this.#filling]!;
    const view = this.bytes.subarray(at, at + this.#filled);
    this.#filling = this.#filling === 0 ? 1 : 0;
    this.#filled = 0;
    return view;
  }

  /** Forgets what waits. */
  clear(): void {
    this.#filled = 0;
  }
}
