/**
 * A connection in TLS as a carrier.
 *
 * @module
 */

import type { Carrier, CarrierEvents } from "../carrier.ts";
import type { Secured } from "./secured.ts";

/** What may be written and not have left: as much as leaves within {@link SHORT_MS}, between these. */
const LEAST_BUFFERED = 16 << 10;
const MOST_BUFFERED = 128 << 10;
const SHORT_MS = 20;
/** How long a farewell may take. */
const FAREWELL_MS = 1_000;

export class TlsCarrier implements Carrier {
  readonly remote;
  readonly #secured: Secured;
  /** What has not left, the oldest first. */
  readonly #written: { readonly size: number; readonly at: number; readonly done: () => void }[] =
    [];
  #buffered = 0;
  #limit = MOST_BUFFERED;
  #isFull = false;
  #events: CarrierEvents | undefined;
  #isOver = false;
  #error: Error | undefined;

  constructor(secured: Secured) {
    this.#secured = secured;
    this.remote = secured.remote;
    const { socket } = secured;
    socket.on("error", (error) => this.#error = error);
    socket.on("close", () => this.#closed());
    socket.on("end", () => socket.destroy());
  }

  get buffered(): number {
    return this.#buffered;
  }

  start(events: CarrierEvents): void {
    this.#events = events;
    const { socket } = this.#secured;
    if (socket.destroyed) queueMicrotask(() => this.#closed());
    else socket.on("data", (bytes: Uint8Array) => this.#events?.chunk(bytes));
  }

  write(bytes: Uint8Array, done: () => void): boolean {
    if (this.#isOver) {
      done();
      return true;
    }
    const size = bytes.length;
    this.#buffered += size;
    this.#written.push({ size, at: performance.now(), done });
    this.#secured.socket.write(bytes, () => this.#left());
    this.#isFull = this.#buffered >= this.#limit;
    return !this.#isFull;
  }

  setReading(isReading: boolean): void {
    this.#secured.gate.setOpen(isReading);
  }

  close(last?: Uint8Array): void {
    this.#events = undefined;
    if (this.#isOver) return;
    const { socket, gate } = this.#secured;
    const isStuck = this.#buffered >= this.#limit;
    this.#finish();
    if (last === undefined || isStuck) {
      socket.destroy();
      return;
    }
    gate.setOpen(true); // or the end of the other side is not seen
    socket.resume();
    socket.end(last);
    const timer = setTimeout(() => socket.destroy(), FAREWELL_MS);
    socket.once("close", () => clearTimeout(timer));
  }

  /** Ends it, and says so to its user. @param reason Behind `its certificate`. */
  expel(last: Uint8Array, reason: string): void {
    const events = this.#events;
    this.close(last);
    events?.closed(new Error(`its certificate ${reason}`));
  }

  #closed(): void {
    const events = this.#events;
    this.#events = undefined;
    this.#finish();
    events?.closed(this.#error);
  }

  #left(): void {
    const first = this.#written.shift();
    if (first === undefined) return; // it was over before
    this.#buffered -= first.size;
    first.done();
    // On a slow line little may wait in here, where nothing that is stale can be dropped any more.
    const took = performance.now() - first.at;
    if (took > SHORT_MS) this.#limit = Math.max(LEAST_BUFFERED, this.#limit / 2);
    else this.#limit = Math.min(MOST_BUFFERED, this.#limit + first.size);
    if (!this.#isFull || this.#buffered >= this.#limit) return;
    this.#isFull = false;
    this.#events?.writable();
  }

  #finish(): void {
    this.#isOver = true;
    this.#buffered = 0;
    for (const { done } of this.#written.splice(0)) done();
  }
}
