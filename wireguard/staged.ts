/**
 * Packets that wait for a handshake (whitepaper §6.1).
 *
 * @module
 */

import { DATA_HEADER_SIZE, TAG_SIZE } from "./messages.ts";

/** Per peer; beyond it the oldest are dropped. */
export const MAX_STAGED_PACKETS = 128;

/** Padding to 16 and a tag fit behind a staged packet. */
const TAILROOM = 16 + TAG_SIZE;

/** A queue of copies, each with room around it to be sealed in place. */
export class StagedPackets {
  readonly #slots: Uint8Array[] = [];

  get length(): number {
    return this.#slots.length;
  }

  /** Copies a packet. @returns false if the oldest had to go for it. */
  push(buffer: Uint8Array, offset: number, length: number): boolean {
    const slot = new Uint8Array(DATA_HEADER_SIZE + length + TAILROOM);
    slot.set(buffer.subarray(offset, offset + length), DATA_HEADER_SIZE);
    this.#slots.push(slot);
    if (this.#slots.length <= MAX_STAGED_PACKETS) return true;
    this.#slots.shift();
    return false;
  }

  /** The oldest: packet at offset 16, {@link packetLength} bytes. Owned by the caller from now on. */
  shift(): Uint8Array | undefined {
    return this.#slots.shift();
  }

  /** @returns how many were dropped. */
  clear(): number {
    const dropped = this.#slots.length;
    this.#slots.length = 0;
    return dropped;
  }
}

/** Length of the packet in a slot. */
export function packetLength(slot: Uint8Array): number {
  return slot.length - DATA_HEADER_SIZE - TAILROOM;
}
