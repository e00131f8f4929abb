/**
 * Sockets that ping targets, over FFI. One wait is for all of them; what has come
 * is taken over in the engine's next turn, and what a turn sends leaves with one call for each socket.
 *
 * @module
 */

import {
  Errno,
  ErrorOrigin,
  ErrorQueue,
  IcmpSocket,
  MESSAGE_BYTES,
  openUdpLibc,
  QUOTED_BYTES,
  ReceiveRing,
  SocketWatch,
  type UdpLibc,
} from "../../ffi/mod.ts";
import type { IcmpErrorKind, IpVersion } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { ipAt, type TargetAddress } from "./address.ts";
import { icmpErrorOf } from "./errno.ts";
import type {
  IcmpTargetHandler,
  IcmpTargets,
  IcmpTargetSocket,
  IcmpTargetsOptions,
} from "./icmp.ts";
import { reportKind } from "./udp_report.ts";
import { type Sender, TargetSends } from "./udp_sends.ts";

const log = getLogger(["wirestack", "icmp"]);

/** Messages that one call receives: one socket's part of a turn, before the next one's. */
const RING_MESSAGES = 16;
/** Messages that a turn hands on, of all sockets together. */
const DRAIN_BUDGET = 128;
/** Of the sequence number in an ICMP message. */
const SEQUENCE = 6;

export class FfiIcmpTargets implements IcmpTargets {
  readonly options: IcmpTargetsOptions;
  readonly libc: UdpLibc = openUdpLibc();
  readonly sends: TargetSends = new TargetSends(this.libc);
  readonly errors: ErrorQueue = new ErrorQueue(this.libc);
  readonly #ring = new ReceiveRing(this.libc, new Uint8Array(RING_MESSAGES * MESSAGE_BYTES));
  readonly #watch: SocketWatch;
  readonly #sockets = new Map<number, FfiIcmpTargetSocket>();
  /** Those with something to receive, in the order of their turns. */
  readonly #ready: FfiIcmpTargetSocket[] = [];
  #lastNumber = 0;
  /** Requests sent in this turn. */
  #sent = 0;
  /** @throws {Error} where there is no FFI; `icmpUnavailable` says why. */
  constructor(options: IcmpTargetsOptions) {
    this.options = options;
    this.sends.withoutSegments();
    // Last: it has descriptors and a thread, which nobody would end if something else were thrown.
    try {
      this.#watch = new SocketWatch((number, hasErrors) => this.#onEvent(number, hasErrors));
    } catch (error) {
      this.libc.close();
      throw error;
    }
  }

  get hasReady(): boolean {
    return this.#ready.length > 0 && this.options.hasRoom();
  }

  open(version: IpVersion, handler: IcmpTargetHandler): IcmpTargetSocket {
    const number = ++this.#lastNumber;
    const socket = new FfiIcmpTargetSocket(this, version, handler, number);
    this.#sockets.set(number, socket);
    try {
      this.#watch.add(socket.fd, number, true);
    } catch (error) {
      socket.close();
      throw error;
    }
    return socket;
  }

  /** For sockets: one has sent a request. */
  onSend(): void {
    this.#sent++;
  }

  /** For sockets. */
  onClosed(number: number): void {
    this.#sockets.delete(number);
  }

  drain(now: number): void {
    let arrivedAt = now;
    if (this.#sent > 0) {
      this.#sent = 0;
      // A near target has answered by now: its reply needs no turn of its own.
      this.#watch.look();
      arrivedAt = performance.now(); // the turn's time is that of the request
    }
    let budget = DRAIN_BUDGET;
    while (budget > 0 && this.hasReady) {
      budget -= this.#receive(this.#ready.shift()!, now, arrivedAt);
    }
  }

  flush(): void {
    this.sends.flush();
  }

  async close(): Promise<void> {
    await this.#watch.close();
    this.libc.close();
  }

  #onEvent(number: number, hasErrors: boolean): void {
    const socket = this.#sockets.get(number);
    if (socket === undefined) return;
    try {
      if (hasErrors) socket.takeReports();
    } catch (error) {
      log.error("a defect: {error}", { error });
    }
    if (socket.isReady || socket.isClosed) return;
    socket.isReady = true;
    this.#ready.push(socket);
    this.options.wake();
  }

  /** Hands on what a socket has. @returns how much of the turn's budget it took. */
  #receive(socket: FfiIcmpTargetSocket, now: number, arrivedAt: number): number {
    if (socket.isClosed) return 0;
    const ring = this.#ring;
    let count = 1;
    try {
      ring.fill(socket.fd);
      if (ring.error !== 0 && !socket.takeReports()) this.options.counters.receiveErrors++;
      for (; !socket.isClosed && ring.next(); count++) {
        socket.hand(ring, now, arrivedAt);
      }
    } finally {
      while (ring.next()); // after an exception too: the ring must be empty for the next socket
      ring.release();
      // Only what comes after a receive that took everything is told by the watch.
      socket.isReady = !ring.isExhausted;
      if (socket.isReady && !socket.isClosed) this.#ready.push(socket);
    }
    return count;
  }
}

class FfiIcmpTargetSocket implements IcmpTargetSocket, Sender {
  firstSend = -1;
  lastSend = -1;
  /** Whether it is in the queue of those with something to receive. */
  isReady = false;
  readonly #owner: FfiIcmpTargets;
  readonly #handler: IcmpTargetHandler;
  readonly #number: number;
  readonly #socket: IcmpSocket;
  /** What this host last found too long a message could have had, bytes with the IP header. */
  #localMtu = 0;

  constructor(
    owner: FfiIcmpTargets,
    version: IpVersion,
    handler: IcmpTargetHandler,
    number: number,
  ) {
    this.#owner = owner;
    this.#handler = handler;
    this.#number = number;
    this.#socket = new IcmpSocket(owner.libc, version);
  }

  get fd(): number {
    return this.#socket.fd;
  }

  get isClosed(): boolean {
    return this.#socket.isClosed;
  }

  send(
    to: TargetAddress,
    hopLimit: number,
    dontFragment: boolean,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void {
    const { sends, options } = this.#owner;
    if (!this.#socket.hasHeader(hopLimit, dontFragment)) {
      sends.flushOf(this); // those have the one before
      this.#socket.setHeader(hopLimit, dontFragment);
    }
    sends.push(this, to, buffer, offset, length);
    this.#owner.onSend();
    options.wake();
  }

  close(): void {
    if (this.isClosed) return;
    this.#owner.sends.flushOf(this);
    this.#socket.close();
    this.#owner.onClosed(this.#number);
  }

  refused(to: TargetAddress, errno: number, buffer: Uint8Array, offset: number): void {
    const { counters, now } = this.#owner.options;
    if (errno === Errno.EAGAIN) {
      counters.noBuffer++;
      return;
    }
    counters.sendErrors++;
    const isTooBig = errno === Errno.EMSGSIZE && this.#localMtu > 0;
    const kind: IcmpErrorKind | undefined = isTooBig ? "too-big" : icmpErrorOf(errno);
    if (kind === undefined) return;
    const sequence = sequenceAt(buffer, offset);
    this.#handler.report(to.words, 0, sequence, kind, this.#localMtu, undefined, now());
  }

  takeReports(): boolean {
    if (this.isClosed) return false;
    const { errors, options } = this.#owner;
    let isOfNetwork = false;
    errors.drain(this.fd, (to, origin, type, code, mtu, offender, quoted, quotedLength) => {
      // What this host finds, a message too long, is the result of the call as well.
      if (origin === ErrorOrigin.LOCAL) {
        this.#localMtu = mtu;
        return;
      }
      isOfNetwork = true;
      const kind = reportKind(origin, type, code);
      if (kind === undefined || quotedLength < QUOTED_BYTES) return;
      const sequence = sequenceAt(errors.quotes, quoted);
      const from = ipAt(errors.offenders, offender);
      this.#handler.report(errors.names, to, sequence, kind, mtu, from, options.now());
    });
    return isOfNetwork;
  }

  /** Hands on the one that `ring` is at. */
  hand(ring: ReceiveRing, now: number, arrivedAt: number): void {
    const { senders, sender, memory, offset, length, hopLimit } = ring;
    this.#handler.reply(senders, sender, memory, offset, length, hopLimit, now, arrivedAt);
  }
}

function sequenceAt(buffer: Uint8Array, message: number): number {
  return buffer[message + SEQUENCE]! << 8 | buffer[message + SEQUENCE + 1]!;
}
