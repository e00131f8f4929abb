/**
 * One direction of a link in real time: rate, drop-tail queue, delay and independent random loss. It
 * stands in for `netem`, which not every kernel has.
 *
 * @module
 */

import { Random } from "../sim/random.ts";

export interface LossyLinkOptions {
  /** Bits per second of IP packets. */
  readonly rate: number;
  /** ms, beside what a packet waits for the rate. */
  readonly delay: number;
  /** Bytes that may wait for the rate; a packet that finds more is dropped. */
  readonly queue: number;
  /** Probability that a packet is lost, each for itself. */
  readonly loss: number;
  readonly seed: number;
}

/**
 * A timer takes 2 ms, however short it was set. What is due within this many ms goes with what is
 * due now, so that on average nothing is late.
 */
const EARLY = 1;

/** Packets come out in the order in which they went in. */
export class LossyLink {
  passed = 0;
  lost = 0;
  /** Found the queue full. */
  overflowed = 0;

  readonly #options: LossyLinkOptions;
  readonly #deliver: (packet: Uint8Array) => void;
  readonly #random: Random;
  /** From `#head` on. */
  readonly #due: { readonly at: number; readonly packet: Uint8Array }[] = [];
  #head = 0;
  #lineFreeAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param deliver Is given each packet for itself to keep. */
  constructor(options: LossyLinkOptions, deliver: (packet: Uint8Array) => void) {
    this.#options = options;
    this.#deliver = deliver;
    this.#random = new Random(options.seed);
  }

  /** Takes a packet; it is copied. */
  send(packet: Uint8Array): void {
    const { rate, delay, queue, loss } = this.#options;
    if (this.#random.next() < loss) {
      this.lost++;
      return;
    }
    const now = performance.now();
    const start = Math.max(now, this.#lineFreeAt);
    if ((start - now) * rate / 8000 > queue) {
      this.overflowed++;
      return;
    }
    this.#lineFreeAt = start + packet.length * 8000 / rate;
    this.#due.push({ at: this.#lineFreeAt + delay, packet: packet.slice() });
    this.#arm(now);
  }

  /** What is on its way is lost. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due.length = 0;
    this.#head = 0;
  }

  #arm(now: number): void {
    const next = this.#due[this.#head];
    if (this.#timer !== undefined || next === undefined) return;
    this.#timer = setTimeout(() => this.#run(), Math.max(0, next.at - now - EARLY));
  }

  #run(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (let next; (next = this.#due[this.#head]) !== undefined && next.at <= now + EARLY;) {
      this.#head++;
      this.passed++;
      this.#deliver(next.packet);
    }
    if (this.#head > 1024 || this.#head === this.#due.length) {
      this.#due.splice(0, this.#head);
      this.#head = 0;
    }
    this.#arm(now);
  }
}
