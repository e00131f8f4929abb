/**
 * A call of gRPC as a carrier, on either side.
 *
 * @module
 */

import type { Carrier, CarrierEvents, CarrierRemote } from "../carrier.ts";
import { farewellText } from "../farewell.ts";
import { HEADER_SIZE } from "../frame_reader.ts";
import { Written } from "../written.ts";
import { type Http2Stream, http2StreamOf, messageOf } from "./http2_stream.ts";
import { WINDOW } from "./limits.ts";

/** While so many messages are on their way out, what comes is gathered for the next. */
const MOST_WRITTEN = 2;

/** A call's messages, both ways. */
export interface Messages {
  on(event: "data", listener: (bytes: Uint8Array) => void): unknown;
  write(bytes: Uint8Array, done: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

export class GrpcCarrier implements Carrier {
  readonly remote: CarrierRemote;
  /** With a message that is not whole. */
  readonly rest = 288 << 10;
  readonly unread = WINDOW;
  readonly #call: Messages;
  readonly #end: (reason: string | undefined) => void;
  readonly #stream: Http2Stream | undefined;
  readonly #written = new Written(MOST_WRITTEN);
  #events: CarrierEvents | undefined;
  #isOver = false;
  #error: Error | undefined;

  /**
   * @param call Paused, as grpc-js makes it, with its headers told.
   * @param end Ends the call and its connection, after saying why, if that is known.
   */
  constructor(call: Messages, remote: CarrierRemote, end: (reason: string | undefined) => void) {
    this.#call = call;
    this.#stream = http2StreamOf(call);
    this.remote = remote;
    this.#end = end;
  }

  get buffered(): number {
    return this.#written.size;
  }

  start(events: CarrierEvents): void {
    this.#events = events;
    // Not from within this call, as always.
    if (this.#isOver) queueMicrotask(() => events.closed(this.#error));
    else this.#call.on("data", (bytes: Uint8Array) => this.#events?.chunk(bytes));
  }

  write(bytes: Uint8Array, done: () => void, room = 0): boolean {
    if (this.#isOver) {
      done();
      return true;
    }
    this.#written.push(bytes.length, done);
    const left = () => void (this.#written.left() && this.#events?.writable());
    if (this.#stream === undefined) this.#call.write(bytes, left);
    else this.#stream.write(messageOf(bytes, room), left);
    return !this.#written.isFull;
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

  /** Ends it, and says so to its user. @param reason Behind `its certificate`. */
  expel(last: Uint8Array, reason: string): void {
    const events = this.#events;
    this.close(last);
    events?.closed(new Error(`its certificate ${reason}`));
  }

  /** The call has ended by itself. Safe to be told again. */
  ended(error?: Error): void {
    this.#error = error;
    if (!this.#finish()) return;
    this.#end(undefined);
    const events = this.#events;
    this.#events = undefined;
    events?.closed(error);
  }

  /** @returns whether it was not over yet. */
  #finish(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#written.clear();
    return true;
  }
}
