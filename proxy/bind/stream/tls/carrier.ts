/**
 * A connection in TLS as a carrier.
 *
 * @module
 */

import type { Carrier, CarrierEvents } from "../carrier.ts";
import { Written } from "../written.ts";
import type { Secured } from "./secured.ts";

/** How long a farewell may take. */
const FAREWELL_MS = 1_000;

export class TlsCarrier implements Carrier {
  readonly remote;
  readonly rest = 176 << 10;
  /** A record of TLS that is not whole, and what it was read with. */
  readonly unread = 64 << 10;
  readonly #secured: Secured;
  readonly #written = new Written();
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
    return this.#written.size;
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
    this.#written.push(bytes.length, done);
    this.#secured.socket.write(bytes, () => this.#written.left() && this.#events?.writable());
    return !this.#written.isFull;
  }

  setReading(isReading: boolean): void {
    this.#secured.gate.setOpen(isReading);
  }

  close(last?: Uint8Array): void {
    this.#events = undefined;
    if (this.#isOver) return;
    const { socket, gate } = this.#secured;
    const isStuck = this.#written.isFull;
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

  #finish(): void {
    this.#isOver = true;
    this.#written.clear();
  }
}
