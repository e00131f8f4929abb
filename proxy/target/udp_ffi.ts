/**
 * Sockets towards UDP targets over FFI: datagrams in batches, and what the network reports about them.
 *
 * One watch waits for all of them. What has come is taken over in the engine's next turn, into one ring
 * that all sockets share. What a turn sends is collected, and leaves with one call for each socket.
 *
 * @module
 */

import {
  Errno,
  ErrorOrigin,
  ErrorQueue,
  openUdpLibc,
  type ReceiveRing,
  type UdpLibc,
  UdpSocket,
} from "../../ffi/mod.ts";
import type { IpVersion } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { ipAt, type TargetAddress } from "./address.ts";
import { icmpErrorOf } from "./errno.ts";
import { type ReadySocket, ReadySockets } from "./ready_sockets.ts";
import { reportKind } from "./udp_report.ts";
import { type Sender, TargetSends } from "./udp_sends.ts";
import type { UdpTargetHandler, UdpTargets, UdpTargetSocket, UdpTargetsOptions } from "./udp.ts";

const log = getLogger(["wirestack", "udp"]);

/** Messages that one call receives. */
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
  readonly libc: UdpLibc = openUdpLibc();
  readonly sends: TargetSends = new TargetSends(this.libc);
  readonly errors: ErrorQueue = new ErrorQueue(this.libc);
  readonly sockets: ReadySockets<FfiUdpTargetSocket>;
  #now = 0;
  readonly #hand = (socket: FfiUdpTargetSocket, ring: ReceiveRing) => socket.hand(ring, this.#now);

  /** @throws {Error} where there is no FFI; `udpUnavailable` says why. */
  constructor(options: UdpTargetsOptions) {
    this.options = options;
    // Last: it has descriptors, which nobody would close if something else were thrown.
    try {
      this.sockets = new ReadySockets(options, this.libc, RING_MESSAGES, (error) => {
        log.error("a defect: {error}", { error });
      });
    } catch (error) {
      this.libc.close();
      throw error;
    }
  }

  get hasReady(): boolean {
    return this.sockets.hasReady;
  }

  open(version: IpVersion, handler: UdpTargetHandler): UdpTargetSocket {
    return new FfiUdpTargetSocket(this, version, handler);
  }

  drain(now: number): void {
    this.#now = now;
    this.sockets.drain(DRAIN_BUDGET, this.#hand);
  }

  flush(): void {
    this.sends.flush();
  }

  async close(): Promise<void> {
    await this.sockets.close();
    this.libc.close();
  }
}

class FfiUdpTargetSocket implements UdpTargetSocket, ReadySocket, Sender {
  firstSend = -1;
  lastSend = -1;
  isClosed = false;
  isReady = false;
  readonly #number: number;
  readonly #owner: FfiUdpTargets;
  readonly #handler: UdpTargetHandler;
  readonly #socket: UdpSocket;
  /** Receives in a row that failed for no reason the network gave. */
  #failures = 0;
  /** What the socket sends with; 0 for the system's own choice. */
  #hopLimit = 0;

  /** @throws if the system gives no socket, or it cannot be watched. */
  constructor(
    owner: FfiUdpTargets,
    version: IpVersion,
    handler: UdpTargetHandler,
  ) {
    this.#owner = owner;
    this.#handler = handler;
    this.#socket = new UdpSocket(owner.libc, {
      hostname: version === 4 ? "0.0.0.0" : "::",
      port: 0,
      receiveBuffer: RECEIVE_BUFFER,
      sendBuffer: SEND_BUFFER,
    });
    this.#socket.reportErrors();
    if (!this.#socket.hasGso) owner.sends.withoutSegments();
    this.#number = owner.sockets.add(this, this.#socket);
  }

  get fd(): number {
    return this.#socket.fd;
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
    this.#owner.sockets.remove(this.#number);
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
    if (this.isClosed) return false;
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

  /** A receive fails, most likely, for what the network reports, which ends nothing. */
  received(hasFailed: boolean): void {
    this.#failures = !hasFailed || this.takeReports() ? 0 : this.#failures + 1;
    if (this.#failures < MAX_FAILURES) return;
    this.#owner.options.counters.receiveErrors++;
    this.#handler.failed();
  }

  /** Hands on the one that `ring` is at. */
  hand({ senders, sender, memory, offset, length }: ReceiveRing, now: number): void {
    this.#handler.datagram(senders, sender, memory, offset, length, now);
  }

  /** A client's hop limit hardly ever changes: once for each change is cheaper than with each datagram. */
  #setHopLimit(hopLimit: number): void {
    this.#owner.sends.flushOf(this); // those have the one before
    this.#socket.setHopLimit(hopLimit);
    this.#hopLimit = hopLimit;
  }
}
