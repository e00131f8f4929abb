/**
 * Joins two byte streams: data of each is written to the other, with back-pressure, half-close and
 * reset.
 *
 * No queue grows. When one stream takes no more, reading from the other stops, so that at most one
 * buffer waits in each direction besides what the streams themselves hold. The same when a rate does not
 * allow more.
 *
 * @module
 */

import type { Flow } from "../flow/flow.ts";
import type { ByteStream, StreamError, StreamHandler } from "../flow/stream.ts";
import { Valve, type ValveOwner } from "./valve.ts";

/** What a splice needs of its owner. */
export interface SpliceOwner {
  /** Milliseconds, monotonic. */
  now(): number;
  /** One direction has ended, or something moved since. */
  onHalfClosed(): void;
  /** One stream was broken off, and the other is or will be. */
  onBroken(by: "source" | "target", error: StreamError): void;
  /** Last, and once: both streams are gone. */
  onEnded(): void;
}

/** Bytes from `source` count as up. */
export class Splice implements StreamHandler, ValveOwner {
  readonly #flow: Flow;
  readonly #owner: SpliceOwner;
  readonly #source: ByteStream;
  readonly #target: ByteStream;
  #hasSourceEnded = false;
  #hasTargetEnded = false;
  #isSourceClosed = false;
  #isTargetClosed = false;
  /** One stream is gone, and the other only gets what was on its way. */
  #isDraining = false;
  #hasEnded = false;
  /** Of directions that have had a rate. */
  #up: Valve | undefined = undefined;
  #down: Valve | undefined = undefined;

  /** The streams are this splice's from now on. */
  constructor(flow: Flow, owner: SpliceOwner, source: ByteStream, target: ByteStream) {
    this.#flow = flow;
    this.#owner = owner;
    this.#source = source;
    this.#target = target;
    source.handler = this;
    target.handler = this;
    flow.state = "open";
  }

  /** Resets both. */
  abort(): void {
    if (this.#hasEnded) return;
    if (!this.#isSourceClosed) this.#source.reset();
    if (!this.#isTargetClosed) this.#target.reset();
    this.#end();
  }

  data(
    stream: ByteStream,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isLent: boolean,
  ): boolean {
    if (this.#isDraining) return true;
    const flow = this.#flow;
    flow.lastActivity = this.#owner.now();
    if (flow.state === "half-closed") this.#owner.onHalfClosed();
    if (stream === this.#source) {
      flow.bytesUp += length;
      const pace = flow.up;
      if (pace === undefined) return this.#target.write(buffer, offset, length, isLent);
      this.#up ??= new Valve(this, stream, this.#target);
      return this.#up.write(pace, buffer, offset, length, isLent);
    }
    flow.bytesDown += length;
    const pace = flow.down;
    if (pace === undefined) return this.#source.write(buffer, offset, length, isLent);
    this.#down ??= new Valve(this, stream, this.#source);
    return this.#down.write(pace, buffer, offset, length, isLent);
  }

  appetite(stream: ByteStream): number {
    const { appetite } = this.#other(stream);
    const pace = stream === this.#source ? this.#flow.up : this.#flow.down;
    return pace === undefined ? appetite : Math.min(appetite, pace.portion);
  }

  ended(stream: ByteStream): void {
    if (stream === this.#source) this.#hasSourceEnded = true;
    else this.#hasTargetEnded = true;
    if (this.#isDraining) return;
    this.#flow.state = "half-closed";
    this.#other(stream).end();
    this.#owner.onHalfClosed();
  }

  drained(stream: ByteStream): void {
    if (this.#isDraining) return;
    if (this.#flow.state === "half-closed") this.#owner.onHalfClosed();
    const valve = stream === this.#source ? this.#down : this.#up;
    if (valve?.isHolding) valve.drained();
    else this.#other(stream).resume();
  }

  now(): number {
    return this.#owner.now();
  }

  onMoved(): void {
    this.#flow.lastActivity = this.#owner.now();
    if (this.#flow.state === "half-closed") this.#owner.onHalfClosed();
  }

  closed(stream: ByteStream, error: StreamError | undefined): void {
    const isSource = stream === this.#source;
    if (isSource) this.#isSourceClosed = true;
    else this.#isTargetClosed = true;
    (isSource ? this.#down : this.#up)?.close();
    if (this.#hasEnded) return;
    if (error !== undefined && !this.#isDraining) {
      this.#owner.onBroken(isSource ? "source" : "target", error);
      const hasEnded = isSource ? this.#hasSourceEnded : this.#hasTargetEnded;
      const isOtherClosed = isSource ? this.#isTargetClosed : this.#isSourceClosed;
      if (!hasEnded || isOtherClosed) {
        this.abort();
        return;
      }
      // It answered, closed, and then refused what the other still sends. A reset now would destroy
      // the answer, so the other gets that first.
      this.#isDraining = true;
      this.#other(stream).resetOnceDelivered();
    }
    if (this.#isSourceClosed && this.#isTargetClosed) this.#end();
  }

  #other(stream: ByteStream): ByteStream {
    return stream === this.#source ? this.#target : this.#source;
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#up?.close();
    this.#down?.close();
    this.#owner.onEnded();
  }
}
