/**
 * A call of gRPC as a carrier, on either side.
 *
 * @module
 */

import type { Carrier, CarrierEvents, CarrierRemote } from "../carrier.ts";
import { farewellText } from "../farewell.ts";
import { HEADER_SIZE } from "../frame_reader.ts";
import { Written } from "../written.ts";
import type { Through } from "./through.ts";

export class GrpcCarrier implements Carrier {
  readonly remote: CarrierRemote;
  readonly rest = 288 << 10;
  /** As in TLS: what comes is not read, whatever the window of HTTP/2 is. */
  readonly unread = 64 << 10;
  readonly #through: Through;
  readonly #end: (reason: string | undefined) => void;
  readonly #written = new Written();
  #events: CarrierEvents | undefined;
  #isOver = false;
  #error: Error | undefined;

  /**
   * @param through The connection, whose call has begun.
   * @param end Ends the call and its connection, after saying why, if that is known.
   */
  constructor(through: Through, remote: CarrierRemote, end: (reason: string | undefined) => void) {
    this.#through = through;
    this.remote = remote;
    this.#end = end;
    through.onFailed = (why) => this.#failed(why);
    through.once("close", () => this.#written.clear());
  }

  get buffered(): number {
    return this.#written.size;
  }

  start(events: CarrierEvents): void {
    this.#events = events;
    // Not from within this call, as always.
    if (this.#isOver) queueMicrotask(() => events.closed(this.#error));
    else this.#through.receiver.start((packed) => this.#events?.chunk(packed, true));
  }

  write(bytes: Uint8Array, done: () => void, room = 0): boolean {
    if (this.#isOver) {
      done();
      return true;
    }
    this.#written.push(bytes.length, done);
    this.#through.sender.write(
      bytes,
      room,
      () => void (this.#written.left() && this.#events?.writable()),
    );
    return !this.#written.isFull;
  }

  setReading(isReading: boolean): void {
    this.#through.receiver.setReading(isReading);
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
    this.#over(error, undefined);
  }

  /** What the other side sends is nothing that may be sent: it is told so. */
  #failed(why: string): void {
    this.#over(new Error(why), why);
  }

  #over(error: Error | undefined, reason: string | undefined): void {
    this.#error ??= error;
    if (!this.#finish()) return;
    this.#end(reason);
    const events = this.#events;
    this.#events = undefined;
    events?.closed(error);
  }

  /** @returns whether it was not over yet. What was written is not given back before it has left. */
  #finish(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    const { sender, receiver } = this.#through;
    sender.close();
    receiver.close();
    receiver.setReading(true); // or the end of the other side is not seen
    return true;
  }
}
