/**
 * What the kinds of UDP sockets have in common when they send.
 *
 * @module
 */

import type { TransmitPool } from "../arena/transmit_pool.ts";

/**
 * Copies a datagram that lies in no slot into one.
 *
 * @returns Where that starts; -1 if none is free, or it is too long: then it is counted.
 */
export function copyToSlot(
  pool: TransmitPool,
  counters: { noSlot: number },
  buffer: Uint8Array,
  offset: number,
  length: number,
): number {
  const slot = length <= pool.slotSize ? pool.take() : -1;
  if (slot < 0) {
    counters.noSlot++;
    return -1;
  }
  const isWhole = offset === 0 && length === buffer.length;
  pool.buffer.set(isWhole ? buffer : buffer.subarray(offset, offset + length), slot);
  return slot;
}

/** The moment at which every send has settled, to wait for before closing. */
export class LastSend {
  #reached: (() => void) | undefined;

  /** Resolves with the next {@link reached}, or after `limitMs`. */
  async wait(limitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, limitMs);
    this.#reached = resolve;
    await promise;
    clearTimeout(timer);
  }

  reached(): void {
    this.#reached?.();
  }
}
