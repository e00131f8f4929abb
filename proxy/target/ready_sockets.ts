/**
 * Sockets over FFI that one watch waits for: those with something to receive have turns, into one ring
 * that all share.
 *
 * @module
 */

import { MESSAGE_BYTES, ReceiveRing, SocketWatch, type UdpLibc } from "../../ffi/mod.ts";
import type { UdpTargetsOptions } from "./udp.ts";

export interface ReadySocket {
  readonly fd: number;
  readonly isClosed: boolean;
  /** Set by {@link ReadySockets}: something has come, and no receive has taken everything since. */
  isReady: boolean;
  /** Takes what the network reports of this socket. @returns whether there was any such report. */
  takeReports(): boolean;
  /** After each receive, before what it gave is handed on. */
  received(hasFailed: boolean): void;
}

/** What receives: an engine, at the end. */
type Receiver = Pick<UdpTargetsOptions, "wake" | "hasRoom">;

export class ReadySockets<S extends ReadySocket> {
  readonly #receiver: Receiver;
  readonly #onDefect: (error: unknown) => void;
  readonly #watch: SocketWatch<S>;
  readonly #ring: ReceiveRing;
  /** In the order of their turns. */
  readonly #queue: S[] = [];

  /**
   * @param messages That one call receives: one socket's part of a turn, before the next one's.
   * @param onDefect Called with what taking a socket's reports has thrown.
   * @throws {Error} with the system's `code`, if that gives no descriptor.
   */
  constructor(
    receiver: Receiver,
    libc: UdpLibc,
    messages: number,
    onDefect: (error: unknown) => void,
  ) {
    this.#receiver = receiver;
    this.#onDefect = onDefect;
    this.#ring = new ReceiveRing(libc, new Uint8Array(messages * MESSAGE_BYTES));
    // Last: it has descriptors, which nobody would close if something else were thrown.
    this.#watch = new SocketWatch((socket, hasErrors) => this.#onEvent(socket, hasErrors));
  }

  /** Whether {@link drain} has something to do. */
  get hasReady(): boolean {
    return this.#queue.length > 0 && this.#receiver.hasRoom();
  }

  /**
   * @param own What is closed where it cannot be watched.
   * @returns the number for {@link remove}.
   * @throws {Error} with the system's `code`, if its limit is reached.
   */
  add(socket: S, own: { close(): void }): number {
    try {
      return this.#watch.add(socket.fd, socket);
    } catch (error) {
      own.close();
      throw error;
    }
  }

  /** When it is closed. */
  remove(number: number): void {
    this.#watch.remove(number);
  }

  /** Finds what has come before it is told of. */
  look(): void {
    this.#watch.look();
  }

  /**
   * Calls `hand` for each message, the one that the ring is at, until there are no more, there is no room,
   * or so many were handed on; the last receive may exceed that.
   */
  drain(budget: number, hand: (socket: S, ring: ReceiveRing) => void): void {
    while (budget > 0 && this.hasReady) budget -= this.#receive(this.#queue.shift()!, hand);
  }

  async close(): Promise<void> {
    await this.#watch.close();
  }

  #onEvent(socket: S, hasErrors: boolean): void {
    try {
      if (hasErrors) socket.takeReports();
    } catch (error) {
      this.#onDefect(error);
    }
    if (socket.isReady || socket.isClosed) return;
    socket.isReady = true;
    this.#queue.push(socket);
    this.#receiver.wake();
  }

  /** @returns how much of the turn's budget it took. */
  #receive(socket: S, hand: (socket: S, ring: ReceiveRing) => void): number {
    if (socket.isClosed) return 0;
    const ring = this.#ring;
    let count = 1;
    try {
      ring.fill(socket.fd);
      socket.received(ring.error !== 0);
      for (; !socket.isClosed && ring.next(); count++) hand(socket, ring);
    } finally {
      while (ring.next()); // after an exception too: the ring must be empty for the next socket
      ring.release();
      // Only what comes after a receive that took everything is told by the watch.
      socket.isReady = !ring.isExhausted;
      if (socket.isReady && !socket.isClosed) this.#queue.push(socket);
    }
    return count;
  }
}
