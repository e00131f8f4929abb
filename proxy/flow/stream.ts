/**
 * Byte streams, and dialers, which open a stream to a destination. A connection in the tunnel, a
 * socket of this host, a TLS session, an HTTP body: each can be one, so that any two can be joined.
 *
 * By callbacks, not promises: nothing is allocated per chunk. Bytes are lent, in both directions.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";

/** How a stream was broken off. */
export type StreamError =
  /** By the other end. */
  | "reset"
  /** It went silent, or its host failed. */
  | "failed";

/** One end of a byte stream that is connected. */
export interface ByteStream {
  /** Receives its events. Undefined: nobody does any more. */
  handler: StreamHandler | undefined;
  /** How much {@link write} is best given at once, bytes: little when memory is short. */
  readonly appetite: number;
  /** Of a socket of this host. */
  readonly localPort?: number | undefined;
  /**
   * Smoothed round trip to the other end as this host measures it, ms, the last one when it is closed;
   * 0 before the first. Missing where nobody tells.
   */
  readonly rttMs?: number;

  /**
   * Sends `length` bytes of `buffer`.
   *
   * @param isLent Whether the bytes stay as they are until {@link StreamHandler.drained}. If not, what
   * is not sent at once is copied.
   * @returns true if it is done with the buffer; false if there is more to send: then nothing may be
   * written until {@link StreamHandler.drained}, which comes later and never within this call.
   */
  write(buffer: Uint8Array, offset: number, length: number, isLent: boolean): boolean;

  /**
   * Sends a few bytes, which are copied, before all that is written. Nothing has to be waited for: they
   * fit into what a new stream takes.
   */
  preface(bytes: Uint8Array): void;

  /** Ends this direction, after what was written. Reading goes on: a half-close. */
  end(): void;

  /** Reads on, after {@link StreamHandler.data} has returned false. May call the handler. */
  resume(): void;

  /** Breaks off at once, so that the other end sees a reset. No handler is called any more. */
  reset(): void;

  /**
   * The same once everything written has arrived; what comes meanwhile is discarded.
   * {@link StreamHandler.closed} follows.
   */
  resetOnceDelivered(): void;
}

/** The events of a stream. One handler may serve several streams, and is told which. */
export interface StreamHandler {
  /**
   * Bytes have arrived. The buffer belongs to the stream.
   *
   * @param isLent Whether they stay as they are until {@link ByteStream.resume} if false is returned;
   * if not, they are gone when the call returns.
   * @returns true for more; false to stop until {@link ByteStream.resume}.
   */
  data(
    stream: ByteStream,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isLent: boolean,
  ): boolean;
  /** How much {@link data} is best given at once, bytes. */
  appetite(stream: ByteStream): number;
  /** The other end has ended its direction: no more {@link data}. Never while it is stopped. */
  ended(stream: ByteStream): void;
  /** The rest of a {@link ByteStream.write} has been sent. */
  drained(stream: ByteStream): void;
  /** Last, and once: both directions are done, or it was broken off. */
  closed(stream: ByteStream, error: StreamError | undefined): void;
}

/** Makes streams from destinations. */
export interface Dialer {
  /** @throws whatever the runtime throws when it has no permission to. */
  dial(destination: IpAddress, port: number, handler: DialHandler): Dial;
}

/** A stream that is being made. */
export interface Dial {
  /** Gives it up. The handler is not called any more. */
  abort(): void;
}

/** One of the two is called, once and never from within {@link Dialer.dial}. */
export interface DialHandler {
  /** The stream has no handler yet; give it one before the call returns. */
  connected(stream: ByteStream): void;
  dialFailed(why: DialError): void;
}

export type DialError =
  | "refused"
  | "host"
  | "net"
  | "prohibited"
  | "timeout"
  /** This host has no descriptor left for it. It may be tried again. */
  | "exhausted"
  /** For another reason of this host. */
  | "failed";
