/**
 * A TCP connection of the in-process stack as a byte stream.
 *
 * @module
 */

import { copyBytes, type TcpEndpoint, type TcpError, type TcpHandler } from "../../netstack/mod.ts";
import type { ByteStream, StreamError, StreamHandler } from "../flow/stream.ts";

/** Buffers for what is on its way from rings to sockets, in use only while a write is pending. */
export class LentBuffers {
  readonly #free: Uint8Array[] = [];

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(BUFFER_SIZE);
  }

  give(buffer: Uint8Array): void {
    if (this.#free.length < KEPT_BUFFERS) this.#free.push(buffer);
  }
}

const BUFFER_SIZE = 65536;
const KEPT_BUFFERS = 16;

/**
 * What the reader does not take stays in the receive ring, whose window closes; what the tunnel
 * does not take stays in the send ring. Besides, only the rest of one chunk that did not fit into
 * it is kept.
 */
export class EndpointStream implements ByteStream, TcpHandler {
  handler: StreamHandler | undefined = undefined;
  readonly endpoint: TcpEndpoint;
  readonly #buffers: LentBuffers;
  /** The reader takes no more until {@link resume}. */
  #isStopped = false;
  /** In use by the reader of the data until then. */
  #lent: Uint8Array | undefined = undefined;
  /** Written, and not yet in the send ring: from `#restOffset` to `#restEnd`. */
  #rest: Uint8Array | undefined = undefined;
  /** One of {@link LentBuffers}. */
  #isRestOwn = false;
  #restOffset = 0;
  #restEnd = 0;
  #hasEnded = false;
  #isToEnd = false;
  #isDraining = false;
  /** Both directions are done in the tunnel. */
  #isClosed = false;

  constructor(endpoint: TcpEndpoint, buffers: LentBuffers) {
    this.endpoint = endpoint;
    this.#buffers = buffers;
    endpoint.handler = this;
  }

  get appetite(): number {
    return this.endpoint.appetite;
  }

  write(buffer: Uint8Array, offset: number, length: number, isLent: boolean): boolean {
    const taken = this.endpoint.write(buffer, offset, length);
    if (taken === length) return true;
    const left = length - taken;
    this.#isRestOwn = !isLent && left > BUFFER_SIZE / 2 && left <= BUFFER_SIZE;
    if (this.#isRestOwn) {
      this.#rest = this.#buffers.take();
      copyBytes(buffer, offset + taken, this.#rest, 0, left);
    } else this.#rest = isLent ? buffer : buffer.slice(offset + taken, offset + length);
    this.#restOffset = isLent ? offset + taken : 0;
    this.#restEnd = this.#restOffset + left;
    this.#hold();
    return false;
  }

  preface(bytes: Uint8Array): void {
    this.endpoint.write(bytes, 0, bytes.length);
  }

  end(): void {
    if (this.#rest === undefined) this.endpoint.shutdownWrite();
    else this.#isToEnd = true;
  }

  resume(): void {
    this.#isStopped = false;
    const lent = this.#lent;
    if (lent !== undefined) {
      this.#lent = undefined;
      this.#buffers.give(lent);
      this.#hold();
    }
    this.readable();
  }

  reset(): void {
    this.handler = undefined;
    this.#release();
    this.endpoint.abort();
  }

  resetOnceDelivered(): void {
    this.#isDraining = true;
    this.#lent = undefined; // the reader may still have it
    this.#drain();
  }

  readable(): void {
    if (this.#isDraining) {
      this.#drain();
      return;
    }
    const { endpoint } = this;
    while (!this.#isStopped && this.handler !== undefined && endpoint.readable > 0) {
      const buffer = this.#buffers.take();
      // A rate wants little at once: that is copied, for many that wait would take a buffer each.
      const most = Math.min(buffer.length, this.handler.appetite(this));
      const isLent = most === buffer.length;
      const length = endpoint.read(buffer, 0, most);
      this.#lent = isLent ? buffer : undefined;
      this.#isStopped = true; // what `data` does may call here
      const goesOn = this.handler.data(this, buffer, 0, length, isLent);
      if (!goesOn && isLent) {
        this.#hold();
        return;
      }
      this.#lent = undefined;
      this.#buffers.give(buffer);
      if (!goesOn) return;
      this.#isStopped = false;
    }
    if (!endpoint.endOfFile || this.#isStopped) return;
    if (!this.#hasEnded) {
      this.#hasEnded = true;
      this.handler?.ended(this);
    }
    if (this.#isClosed) this.#close(undefined);
  }

  writable(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    this.#restOffset += this.endpoint.write(
      rest,
      this.#restOffset,
      this.#restEnd - this.#restOffset,
    );
    if (this.#restOffset < this.#restEnd) return;
    if (this.#isRestOwn) this.#buffers.give(rest);
    this.#rest = undefined;
    this.#hold();
    if (this.#isToEnd) this.endpoint.shutdownWrite();
    else this.handler?.drained(this);
  }

  /** What the target has not taken by then is lost, as with any reset on the way. */
  broken(error: TcpError): void {
    const { endpoint } = this;
    this.closed(error);
    endpoint.abort(); // its memory is free at once
  }

  closed(error: TcpError | undefined): void {
    this.endpoint.handler = undefined;
    if (error !== undefined) this.#close(error.kind === "reset" ? "reset" : "failed");
    else {
      // The reader may still have to take the last bytes, and the end comes after these.
      this.#isClosed = true;
      this.readable();
    }
  }

  /** What is held here counts with the connection's buffers. */
  #hold(): void {
    const lent = this.#lent === undefined ? 0 : BUFFER_SIZE;
    this.endpoint.hold(lent + (this.#rest?.length ?? 0));
  }

  /** Discards what it reads until the other end has everything that was written, then resets it. */
  #drain(): void {
    const { endpoint } = this;
    const buffer = this.#buffers.take();
    while (endpoint.readable > 0) endpoint.read(buffer, 0, buffer.length);
    this.#buffers.give(buffer);
    if (this.#rest !== undefined || endpoint.unsent + endpoint.unacknowledged > 0) return;
    endpoint.handler = undefined;
    endpoint.abort();
    this.#close("reset");
  }

  #close(error: StreamError | undefined): void {
    const { handler } = this;
    this.handler = undefined;
    this.#release();
    handler?.closed(this, error);
  }

  #release(): void {
    this.endpoint.handler = undefined;
    this.#lent = undefined;
    if (this.#isRestOwn && this.#rest !== undefined) this.#buffers.give(this.#rest);
    this.#rest = undefined;
  }
}
