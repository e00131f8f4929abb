/**
 * Sockets towards UDP targets over FFI: datagrams in batches, and what the network reports about them.
 *
 * Deno waits for each socket, which takes no thread. What else has come when it wakes is taken over in
 * the engine's next turn, into one ring that all sockets share. What a turn sends is collected, and
 * leaves with one call for each socket.
 *
 * @module
 */

import {
  Errno,
  ErrorOrigin,
  ErrorQueue,
  MESSAGE_BYTES,
  openUdpLibc,
  ReceiveRing,
  SocketWatch,
  type UdpLibc,
  UdpSocket,
} from "../../ffi/mod.ts";
import type { IpVersion } from "../../netstack/mod.ts";
import { ReceiveBuffers } from "../arena/datagram_buffers.ts";
import { getLogger } from "../log/logger.ts";
import { ipAt, SenderAddress, type TargetAddress } from "./address.ts";
import { icmpErrorOf } from "./errno.ts";
import { reportKind } from "./udp_report.ts";
import { type Sender, TargetSends } from "./udp_sends.ts";
import type { UdpTargetHandler, UdpTargets, UdpTargetSocket, UdpTargetsOptions } from "./udp.ts";

const log = getLogger(["wirestack", "udp"]);

/** Messages that one call receives: one socket's part of a turn, before the next one's. */
const RING_MESSAGES = 64;
/** Datagrams that a turn hands on, of all sockets together. */
const DRAIN_BUDGET = 128;
/** What the kernel may queue for a socket. Its memory is taken by what is queued, not by this. */
const RECEIVE_BUFFER = 4 << 20;
const SEND_BUFFER = 1 << 20;
/** After this many unexplained failures in a row a socket is given up. */
const MAX_FAILURES = 16;

export class FfiUdpTargets implements UdpTargets {
  readonly options: UdpTargetsOptions;
  readonly #watch: SocketWatch;
  readonly #watched = new Map<number, FfiUdpTargetSocket>();
  #lastNumber = 0;
  readonly libc: UdpLibc = openUdpLibc();
  readonly sends: TargetSends = new TargetSends(this.libc);
  readonly errors: ErrorQueue = new ErrorQueue(this.libc);
  readonly buffers: ReceiveBuffers = new ReceiveBuffers();
  readonly #ring = new ReceiveRing(this.libc, new Uint8Array(RING_MESSAGES * MESSAGE_BYTES));
  /** Those with something to receive, in the order of their turns. */
  readonly #ready: FfiUdpTargetSocket[] = [];
  #waits = 0;
  #onLastWait: (() => void) | undefined;

  /** @throws {Error} where there is no FFI; `udpUnavailable` says why. */
  constructor(options: UdpTargetsOptions) {
    this.options = options;
    // Last: it has descriptors and a thread, which nobody would end if something else were thrown.
    try {
      this.#watch = new SocketWatch((number) => this.#onErrors(number));
    } catch (error) {
      this.libc.close();
      throw error;
    }
  }

  get hasReady(): boolean {
    return this.#ready.length > 0 && this.options.hasRoom();
  }

  open(version: IpVersion, handler: UdpTargetHandler): UdpTargetSocket {
    const number = ++this.#lastNumber;
    const socket = new FfiUdpTargetSocket(this, version, handler, number);
    try {
      this.#watch.add(socket.fd, number);
    } catch (error) {
      socket.close();
      socket.release();
      throw error;
    }
    this.#watched.set(number, socket);
    this.#wait(socket);
    return socket;
  }

  /** For sockets. */
  onClosed(number: number): void {
    this.#watched.delete(number);
  }

  drain(now: number): void {
    let budget = DRAIN_BUDGET;
    while (budget > 0 && this.hasReady) budget -= this.#receive(this.#ready.shift()!, now);
  }

  flush(): void {
    this.sends.flush();
  }

  async close(): Promise<void> {
    await this.#watch.close();
    if (this.#waits > 0) await new Promise<void>((resolve) => this.#onLastWait = resolve);
    this.libc.close();
  }

  #onErrors(number: number): void {
    try {
      this.#watched.get(number)?.takeReports();
    } catch (error) {
      log.error("a defect: {error}", { error });
    }
  }

  /** Hands on what a socket has. @returns how much of the turn's budget it took. */
  #receive(socket: FfiUdpTargetSocket, now: number): number {
    if (socket.isClosed) {
      socket.release();
      return 0;
    }
    const ring = this.#ring;
    let count = 1;
    try {
      socket.handDelivered(now);
      ring.fill(socket.fd);
      if (ring.error !== 0) socket.takeReports();
      for (; !socket.isClosed && ring.next(); count++) socket.hand(ring, now);
    } finally {
      while (ring.next()); // after an exception too: the ring must be empty for the next socket
      ring.release();
      if (socket.isClosed) socket.release();
      else if (ring.isExhausted || ring.error !== 0) this.#wait(socket);
      else this.#ready.push(socket);
    }
    return count;
  }

  async #wait(socket: FfiUdpTargetSocket): Promise<void> {
    this.#waits++;
    let isReady = false;
    try {
      isReady = await socket.wait();
    } catch (error) {
      log.error("a defect: {error}", { error });
    }
    this.#waits--;
    if (isReady) {
      this.#ready.push(socket);
      this.options.wake();
    } else socket.release();
    if (this.#waits === 0) this.#onLastWait?.();
  }
}

class FfiUdpTargetSocket implements UdpTargetSocket, Sender {
  firstSend = -1;
  lastSend = -1;
  isClosed = false;
  readonly fd: number;
  readonly #number: number;
  readonly #owner: FfiUdpTargets;
  readonly #handler: UdpTargetHandler;
  readonly #socket: UdpSocket;
  /** For the datagram that comes with the wake. Its pages are the system's until one has come. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  readonly #sender = new SenderAddress();
  /** Of that datagram; -1 for none. */
  #delivered = -1;
  #failures = 0;
  /** What the socket sends with; 0 for the system's own choice. */
  #hopLimit = 0;

  /** @param number What the owner knows it by. */
  constructor(
    owner: FfiUdpTargets,
    version: IpVersion,
    handler: UdpTargetHandler,
    number: number,
  ) {
    this.#owner = owner;
    this.#number = number;
    this.#handler = handler;
    this.#socket = new UdpSocket(owner.libc, {
      hostname: version === 4 ? "0.0.0.0" : "::",
      port: 0,
      receiveBuffer: RECEIVE_BUFFER,
      sendBuffer: SEND_BUFFER,
    });
    this.#socket.reportErrors();
    if (!this.#socket.hasGso) owner.sends.withoutSegments();
    this.fd = this.#socket.fd;
    this.#buffer = owner.buffers.take();
  }

  send(
    to: TargetAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    hopLimit: number,
  ): boolean {
    if (hopLimit !== this.#hopLimit && hopLimit > 0) this.#setHopLimit(hopLimit);
    this.#owner.sends.push(this, to, buffer, offset, length);
    this.#owner.options.wake();
    return true;
  }

  close(): void {
    if (this.isClosed) return;
    this.#owner.sends.flushOf(this);
    this.isClosed = true;
    this.#socket.close();
    this.#owner.onClosed(this.#number);
  }

  refused(to: TargetAddress, errno: number): void {
    const { counters, now } = this.#owner.options;
    if (errno === Errno.EAGAIN) {
      counters.noBuffer++;
      return;
    }
    counters.sendErrors++;
    const kind = icmpErrorOf(errno);
    if (kind !== undefined) this.#handler.report(to.words, 0, kind, 0, undefined, now());
  }

  takeReports(): boolean {
    const { errors, options } = this.#owner;
    let isOfNetwork = false;
    errors.drain(this.fd, (to, origin, type, code, mtu, offender) => {
      // What this host finds, a datagram too long, is the result of the call as well.
      if (origin === ErrorOrigin.LOCAL) return;
      isOfNetwork = true;
      const kind = reportKind(origin, type, code);
      if (kind === undefined) return;
      const from = ipAt(errors.offenders, offender);
      this.#handler.report(errors.names, to, kind, mtu, from, options.now());
    });
    return isOfNetwork;
  }

  /** Waits for a datagram. @returns false once the socket is closed. */
  async wait(): Promise<boolean> {
    while (!this.isClosed) {
      try {
        const [bytes, from] = await this.#socket.receive(this.#buffer!);
        this.#sender.set(from as Deno.NetAddr);
        this.#delivered = bytes.length;
        this.#failures = 0;
        return !this.isClosed;
      } catch {
        if (!this.isClosed) this.#fail();
      }
    }
    return false;
  }

  /** Hands on the datagram that came with the wake. */
  handDelivered(now: number): void {
    const length = this.#delivered;
    this.#delivered = -1;
    if (length >= 0) {
      this.#handler.datagram(this.#sender.words, 0, this.#buffer!, 0, length, now);
    }
  }

  /** Hands on the one that `ring` is at. */
  hand({ senders, sender, memory, offset, length }: ReceiveRing, now: number): void {
    this.#handler.datagram(senders, sender, memory, offset, length, now);
  }

  /** Gives the buffer back, when nothing waits any more. */
  release(): void {
    if (this.#buffer !== undefined) this.#owner.buffers.give(this.#buffer);
    this.#buffer = undefined;
  }

  /** A client's hop limit hardly ever changes: once for each change is cheaper than with each datagram. */
  #setHopLimit(hopLimit: number): void {
    this.#owner.sends.flushOf(this); // those have the one before
    this.#socket.setHopLimit(hopLimit);
    this.#hopLimit = hopLimit;
  }

  /** Receiving has failed: most likely for what the network reports, which ends nothing. */
  #fail(): void {
    this.#failures = this.takeReports() ? 0 : this.#failures + 1;
    if (this.#failures < MAX_FAILURES) return;
    this.#owner.options.counters.receiveErrors++;
    this.#handler.failed();
  }
}
