/**
 * A TCP connection as an application has it.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import type { KeepAlive } from "./settings.ts";

/** RFC 9293 §3.3.2. LISTEN is a {@link TcpListener}, TIME-WAIT mostly a compact record. */
export type TcpState =
  | "syn-sent"
  | "syn-received"
  | "established"
  | "fin-wait-1"
  | "fin-wait-2"
  | "close-wait"
  | "closing"
  | "last-ack"
  | "time-wait"
  | "closed";

/** Why a connection ended other than by both sides closing. */
export interface TcpError {
  /**
   * - `reset`: the peer sent RST
   * - `refused`: it did so in answer to our SYN
   * - `timeout`: it went silent
   * - `unreachable`: ICMP said so before the connection was established
   * - `memory`: it held most memory without moving when the {@link MemoryBudget} was exhausted
   * - `aborted`: this side called {@link TcpEndpoint.abort}, or closed with data unread
   */
  readonly kind: "reset" | "refused" | "timeout" | "unreachable" | "memory" | "aborted";
  readonly message: string;
}

/** Called during the stack's flush only, never from within a call of the application. */
export interface TcpHandler {
  /** The handshake is complete. */
  connected?(): void;
  /** Data or the end of file has arrived. */
  readable?(): void;
  /** Room has appeared after {@link TcpEndpoint.write} took less than it was given. */
  writable?(): void;
  /**
   * It failed, and data that had arrived before waits still: that can be read, nothing can be written.
   * {@link closed} follows when all of it was, or with {@link TcpEndpoint.close}.
   */
  broken?(error: TcpError): void;
  /** Exactly once, last: both directions are done and everything was read, or it failed. */
  closed?(error: TcpError | undefined): void;
}

/** Figures of one connection. Times in ms, sizes in bytes. */
export interface TcpInfo {
  readonly state: TcpState;
  readonly rttMs: number;
  readonly rttVariationMs: number;
  readonly rtoMs: number;
  readonly congestionWindow: number;
  readonly slowStartThreshold: number;
  readonly mss: number;
  readonly sendWindow: number;
  readonly receiveWindow: number;
  readonly inFlight: number;
  readonly unsent: number;
  readonly retransmits: number;
  readonly timeouts: number;
  readonly spurious: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly segmentsIn: number;
  readonly segmentsOut: number;
  /** Of those that came in: with data behind a gap. */
  readonly segmentsOutOfOrder: number;
  readonly outOfOrderRanges: number;
  /** Memory held for data in both directions. */
  readonly bufferBytes: number;
  /** When the retransmission or persist timer expires, in the clock of `now`; Infinity = off. */
  readonly retransmitAt: number;
}

/** What an application may do with a connection. */
export interface EndpointConnection {
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  readonly from: unknown;
  readonly state: TcpState;
  readonly readable: number;
  readonly endOfFile: boolean;
  readonly writable: number;
  readonly unsent: number;
  readonly unacknowledged: number;
  readonly error: TcpError | undefined;
  readonly isDelivering: boolean;
  readonly isOrphaned: boolean;
  readonly lastReceived: number;
  read(into: Uint8Array, offset: number, length: number): number;
  write(from: Uint8Array, offset: number, length: number): number;
  shutdownWrite(): void;
  close(lingering: boolean): void;
  abort(): void;
  setNoDelay(on: boolean): void;
  setKeepAlive(keepAlive: KeepAlive | undefined): void;
  setUserTimeout(ms: number): void;
  readonly appetite: number;
  hold(bytes: number): void;
  info(): TcpInfo;
}

/** One TCP connection, as an application has it. No call blocks or sends; flush does. */
export class TcpEndpoint {
  readonly #connection: EndpointConnection;
  handler: TcpHandler | undefined;

  /** Made by connect(), a listener or a forwarder. */
  constructor(connection: EndpointConnection) {
    this.#connection = connection;
  }

  get local(): IpAddress {
    return this.#connection.local;
  }

  get localPort(): number {
    return this.#connection.localPort;
  }

  get remote(): IpAddress {
    return this.#connection.remote;
  }

  get remotePort(): number {
    return this.#connection.remotePort;
  }

  /**
   * Who opened a connection that came in, as `Stack.handlePacket` was told; undefined for one that
   * this side opened.
   */
  get from(): unknown {
    return this.#connection.from;
  }

  get state(): TcpState {
    return this.#connection.state;
  }

  /** Bytes that {@link read} would give. */
  get readable(): number {
    return this.#connection.readable;
  }

  /** The peer has closed its side and everything was read. */
  get endOfFile(): boolean {
    return this.#connection.endOfFile;
  }

  /** Bytes that {@link write} would take. */
  get writable(): number {
    return this.#connection.writable;
  }

  /** Bytes written and not sent yet. */
  get unsent(): number {
    return this.#connection.unsent;
  }

  /** Bytes (and SYN, FIN) sent and not acknowledged. */
  get unacknowledged(): number {
    return this.#connection.unacknowledged;
  }

  get error(): TcpError | undefined {
    return this.#connection.error;
  }

  /**
   * Copies received bytes to `into`. The window update follows by itself.
   *
   * @returns How many, 0 if there are none.
   * @throws {RangeError} if `offset` and `length` are not within `into`.
   */
  read(into: Uint8Array, offset = 0, length = into.length - offset): number {
    checkRange(into, offset, length);
    return this.#connection.read(into, offset, length);
  }

  /**
   * Queues bytes of `from`; they are copied.
   *
   * @returns How many were taken: less than `length` when the send buffer is full (then
   * {@link TcpHandler.writable} will be called), 0 once this side is closed.
   * @throws {RangeError} if `offset` and `length` are not within `from`.
   */
  write(from: Uint8Array, offset = 0, length = from.length - offset): number {
    checkRange(from, offset, length);
    return this.#connection.write(from, offset, length);
  }

  /** Sends FIN after what is queued. Reading goes on: a half-close. */
  shutdownWrite(): void {
    this.#connection.shutdownWrite();
  }

  /**
   * Sends FIN after what is queued, and reads no more: unread data now, or data that comes later,
   * is answered with RST (RFC 9293 §3.6, RFC 1122 §4.2.2.13).
   *
   * @param options.lingering Unread data, and what comes before the FIN is acknowledged, is
   * discarded instead: the RST would overtake what was written (RFC 9112 §9.6).
   */
  close(options: { lingering?: boolean } = {}): void {
    this.#connection.close(options.lingering ?? false);
  }

  /** What was written, or the FIN after it, has not been acknowledged yet. */
  get isDelivering(): boolean {
    return this.#connection.isDelivering;
  }

  /** {@link close} was called: nobody reads any more. */
  get isOrphaned(): boolean {
    return this.#connection.isOrphaned;
  }

  /** When the peer was last heard, in the clock of `now`, ms. */
  get lastReceived(): number {
    return this.#connection.lastReceived;
  }

  /** Sends RST and forgets everything. */
  abort(): void {
    this.#connection.abort();
  }

  /** Whether small segments go at once; if not, one at a time (Nagle). */
  setNoDelay(on: boolean): void {
    this.#connection.setNoDelay(on);
  }

  /** Probes a silent peer; undefined = never. Counted from what was last received. */
  setKeepAlive(keepAlive: KeepAlive | undefined): void {
    this.#connection.setKeepAlive(keepAlive);
  }

  /**
   * How long written data may go unacknowledged before the connection fails with `timeout`
   * (RFC 9293 §3.8.3), ms; 0 = after the usual number of retransmissions.
   *
   * @throws {RangeError} if it is negative or not finite.
   */
  setUserTimeout(ms: number): void {
    if (!(ms >= 0 && ms < Infinity)) {
      throw new RangeError(`a user timeout is a finite number of ms from 0, got ${ms}`);
    }
    this.#connection.setUserTimeout(ms);
  }

  /**
   * How much {@link write} is best given at once, bytes: less when memory is short, unless data moves.
   * What is not taken is the application's to keep.
   */
  get appetite(): number {
    return this.#connection.appetite;
  }

  /**
   * Says how much memory the application holds for this connection, bytes: it counts with the
   * connection's own buffers, until it says otherwise or {@link TcpHandler.closed} was called.
   */
  hold(bytes: number): void {
    this.#connection.hold(bytes);
  }

  info(): TcpInfo {
    return this.#connection.info();
  }
}

function checkRange(buffer: Uint8Array, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= buffer.length)) {
    throw new RangeError(`${length} bytes at ${offset} are not within ${buffer.length}`);
  }
}
