/**
 * How fast each peer is: a look at all of them once a second while anything moves, so that packets pay
 * nothing for it. A gateway that rests is not woken.
 *
 * @module
 */

import type { Device } from "../../wireguard/mod.ts";
import type { TimeoutSource } from "../engine/engine.ts";

const SAMPLE_MS = 1_000;

export class PeerRates implements TimeoutSource {
  readonly #device: Device;
  readonly #now: () => number;
  /** Of all peers together, at the last sample. */
  #bytes = 0;
  #sampledAt: number;
  /** Whether the last sample found nothing new: every rate is 0, and the next waits for something. */
  #rests = true;

  /** @param now Milliseconds, of the same clock as the engine's. */
  constructor(device: Device, now: () => number) {
    this.#device = device;
    this.#now = now;
    this.#sampledAt = now();
  }

  /** Asked at the end of every turn, and so what finds that something has moved. */
  pollTimeout(): number {
    if (this.#rests) {
      if (this.#total() === this.#bytes) return Infinity;
      this.#rests = false;
      this.#sampledAt = this.#now();
    }
    return this.#sampledAt + SAMPLE_MS;
  }

  handleTimeout(now: number): void {
    const elapsed = now - this.#sampledAt;
    if (this.#rests || elapsed < SAMPLE_MS) return;
    const bytes = this.#total();
    this.#rests = bytes === this.#bytes;
    this.#bytes = bytes;
    this.#sampledAt = now;
    this.#device.sampleRates(elapsed);
  }

  #total(): number {
    const { bytesReceived, bytesSent } = this.#device.counters;
    return bytesReceived + bytesSent;
  }
}
