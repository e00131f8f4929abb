/**
 * Handshake messages wait here behind data: each costs a hundred times a data packet. How full the
 * queue is also tells whether the device is under load (whitepaper §5.3).
 *
 * @module
 */

import type { Sender } from "./endpoint.ts";
import { INITIATION_SIZE } from "./messages.ts";
import { Source, sourceKey } from "./source.ts";

/** Messages kept at most. */
export const HANDSHAKE_QUEUE_LIMIT = 4096;
/**
 * From this many waiting messages on the device is under load: some two seconds' work. The kernel's
 * module says so at an eighth of its queue. But a client that is sent a cookie waits 5 s before it tries
 * again: when thousands of peers come at once, after a hub's restart, serving them in turn is sooner done
 * than sending half of them away to come twice.
 */
export const LOADED = HANDSHAKE_QUEUE_LIMIT / 2;

const FIRST_CAPACITY = 64;

/** A ring of copied messages, grown on demand. */
export class HandshakeQueue {
  readonly #underLoadMs: number;
  #bytes = new Uint8Array(FIRST_CAPACITY * INITIATION_SIZE);
  #lengths: number[] = new Array(FIRST_CAPACITY).fill(0);
  #from: (Sender | undefined)[] = new Array(FIRST_CAPACITY).fill(undefined);
  /** How many each source has. No larger than the queue. */
  readonly #sources = new Map<number | string, number>();
  readonly #source = new Source();
  #capacity = FIRST_CAPACITY;
  #head = 0;
  #size = 0;
  #lastUnderLoad = -Infinity;

  constructor(underLoadMs: number) {
    this.#underLoadMs = underLoadMs;
  }

  get size(): number {
    return this.#size;
  }

  /** Where the oldest message is, until the next {@link push} or {@link shift}. */
  get buffer(): Uint8Array {
    return this.#bytes;
  }

  get offset(): number {
    return this.#head * INITIATION_SIZE;
  }

  get length(): number {
    return this.#lengths[this.#head]!;
  }

  /** Undefined for a cookie reply. */
  get from(): Sender | undefined {
    return this.#from[this.#head];
  }

  /**
   * Copies a message and its sender.
   *
   * @param from Undefined for a cookie reply, whose sender does not matter.
   * @returns false if the queue is full.
   */
  push(buffer: Uint8Array, offset: number, length: number, from: Sender | undefined): boolean {
    if (this.#size === this.#capacity) {
      if (this.#capacity === HANDSHAKE_QUEUE_LIMIT) return false;
      this.#grow();
    }
    const slot = (this.#head + this.#size) % this.#capacity;
    this.#bytes.set(buffer.subarray(offset, offset + length), slot * INITIATION_SIZE);
    this.#lengths[slot] = length;
    this.#from[slot] = from?.copy();
    this.#size++;
    if (from !== undefined) {
      const source = this.#keyOf(from);
      this.#sources.set(source, (this.#sources.get(source) ?? 0) + 1);
    }
    return true;
  }

  /** Removes the oldest message. */
  shift(): void {
    const { from } = this;
    if (from !== undefined) {
      const source = this.#keyOf(from);
      const left = this.#sources.get(source)! - 1;
      if (left === 0) this.#sources.delete(source);
      else this.#sources.set(source, left);
    }
    this.#from[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.#capacity;
    this.#size--;
  }

  /** Whether a message from this IPv4 address or IPv6 /64 waits. */
  holds(from: Sender): boolean {
    return this.#sources.has(this.#keyOf(from));
  }

  clear(): void {
    while (this.#size > 0) this.shift();
  }

  /** Whether the queue is half full, or was within the last second. Ask before every message. */
  isUnderLoad(now: number): boolean {
    if (this.#size >= LOADED) this.#lastUnderLoad = now;
    return now < this.#lastUnderLoad + this.#underLoadMs;
  }

  #keyOf(from: Sender): number | string {
    return sourceKey(this.#source.read(from).address);
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    const bytes = new Uint8Array(capacity * INITIATION_SIZE);
    const headBytes = this.#head * INITIATION_SIZE;
    bytes.set(this.#bytes.subarray(headBytes));
    bytes.set(this.#bytes.subarray(0, headBytes), this.#bytes.length - headBytes);
    const unused = capacity - this.#capacity;
    this.#lengths = [
      ...this.#lengths.slice(this.#head),
      ...this.#lengths.slice(0, this.#head),
      ...new Array(unused).fill(0),
    ];
    this.#from = [
      ...this.#from.slice(this.#head),
      ...this.#from.slice(0, this.#head),
      ...new Array(unused).fill(undefined),
    ];
    this.#bytes = bytes;
    this.#head = 0;
    this.#capacity = capacity;
  }
}
