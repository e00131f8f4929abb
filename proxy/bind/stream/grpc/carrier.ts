/**
 * A call of gRPC as a carrier, on either side.
 *
 * @module
 */

import type { Carrier, CarrierEvents, CarrierRemote } from "../carrier.ts";
import { farewellText } from "../farewell.ts";
import { HEADER_SIZE } from "../frame_reader.ts";

/** From here on there is no room: what waits longer grows old. */
const MOST_BUFFERED = 64 << 10;

/** A call's messages, both ways. */
export interface Messages {
  on(event: "data", listener: (bytes: Uint8Array) => void): unknown;
  write(bytes: Uint8Array, done: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

export class GrpcCarrier implements Carrier {
  readonly remote: CarrierRemote;
  readonly #call: Messages;
  readonly #end: (reason: string | undefined) => void;
  /** What was written and has not left, the oldest first. */
  readonly #written: { readonly size: number; readonly done: () => void }[] = [];
  #buffered = 0;
  #isFull = false;
  #events: CarrierEvents | undefined;
  #isOver = false;
  #error: Error | undefined;

  /**
   * @param call Paused, as grpc-js makes it.
   * @param end Ends the call and its connection.
   */
  constructor(call: Messages, remote: CarrierRemote, end: (reason: string | undefined) => void) {
    this.#call = call;
    this.remote = remote;
    this.#end = end;
  }

  get buffered(): number {
    return this.#buffered;
  }

  start(events: CarrierEvents): void {
    this.#events = events;
    // Not from within this call, as always.
    if (this.#isOver) queueMicrotask(() => events.closed(this.#error));
    else this.#call.on("data", (bytes: Uint8Array) => this.#isOver || events.chunk(bytes));
  }

  write(bytes: Uint8Array, done: () => void): boolean {
    if (this.#isOver) {
      queueMicrotask(done);
      return true;
    }
    const size = bytes.length;
    this.#buffered += size;
    this.#written.push({ size, done });
    this.#call.write(bytes, () => this.#left());
    this.#isFull = this.#buffered >= MOST_BUFFERED;
    return !this.#isFull;
  }

  setReading(isReading: boolean): void {
    if (isReading) this.#call.resume();
    else this.#call.pause();
  }

  close(last?: Uint8Array): void {
    this.#events = undefined;
    // A farewell goes with the call's status, as text: what is written now need not leave before it.
    if (this.#finish()) this.#end(last && farewellText(last[HEADER_SIZE]!));
  }

  /** The call has ended by itself. Safe to be told again. */
  ended(error?: Error): void {
    this.#error = error;
    if (!this.#finish()) return;
    this.#end(undefined);
    this.#events?.closed(error);
  }

  #left(): void {
    const first = this.#written.shift();
    if (first === undefined) return; // it was over before
    this.#buffered -= first.size;
    first.done();
    if (!this.#isFull || this.#buffered >= MOST_BUFFERED) return;
    this.#isFull = false;
    this.#events?.writable();
  }

  /** @returns whether it was not over yet. */
  #finish(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#buffered = 0;
    for (const { done } of this.#written.splice(0)) done();
    return true;
  }
}
