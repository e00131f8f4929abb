/**
 * Buffers for datagrams to and from targets.
 *
 * @module
 */

import { TransmitPool } from "./transmit_pool.ts";

/** Any UDP datagram fits, with a byte to spare. */
const DATAGRAM_SIZE = 65536;
const PER_SLAB = 64;

/**
 * Buffers that wait for a datagram. They are pieces of large slabs, whose pages the system allocates
 * when they are first written: a buffer that has only seen small datagrams costs a page, not 64 KiB.
 */
export class ReceiveBuffers {
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  take(): Uint8Array<ArrayBuffer> {
    if (this.#free.length === 0) {
      const slab = new ArrayBuffer(PER_SLAB * DATAGRAM_SIZE);
      for (let i = PER_SLAB - 1; i >= 0; i--) {
        this.#free.push(new Uint8Array(slab, i * DATAGRAM_SIZE, DATAGRAM_SIZE));
      }
    }
    return this.#free.pop()!;
  }

  give(buffer: Uint8Array<ArrayBuffer>): void {
    this.#free.push(buffer);
  }
}

const SMALL = 2048;
const MAX_LARGE_BYTES = 8 << 20;

/**
 * Copies of datagrams for sends in flight, of all sessions together: slots for those of ordinary size,
 * a bounded number of bytes for larger ones.
 */
export class DatagramBuffers {
  readonly #pool = new TransmitPool(SMALL);
  #largeBytes = 0;

  /** @returns A copy to be given back, or undefined if there is no room. */
  copy(buffer: Uint8Array, offset: number, length: number): Uint8Array | undefined {
    if (length > SMALL) {
      if (this.#largeBytes + length > MAX_LARGE_BYTES) return undefined;
      this.#largeBytes += length;
      return buffer.slice(offset, offset + length);
    }
    const slot = this.#pool.take();
    if (slot < 0) return undefined;
    const copy = this.#pool.buffer.subarray(slot, slot + length);
    copy.set(buffer.subarray(offset, offset + length));
    return copy;
  }

  give(copy: Uint8Array): void {
    if (copy.buffer === this.#pool.buffer.buffer) this.#pool.give(copy.byteOffset);
    else this.#largeBytes -= copy.length;
  }
}
