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
  openUdpLibc,
  QUOTED_BYTES,
  type ReceiveRing,
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
import { type ReadySocket, ReadySockets } from "./ready_sockets.ts";
import { reportKind } from "./udp_report.ts";
import { type Sender, TargetSends } from "./udp_sends.ts";

const log = getLogger(["wirestack", "icmp"]);

/** Messages that one call receives. */
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
  readonly sockets: ReadySockets<FfiIcmpTargetSocket>;
  /** Requests sent in this turn. */
  #sent = 0;
  #now = 0;
  #arrivedAt = 0;
  readonly #hand = (socket: FfiIcmpTargetSocket, ring: ReceiveRing) =>
    socket.hand(ring, this.#now, this.#arrivedAt);

  /** @throws {Error} where there is no FFI; `icmpUnavailable` says why. */
  constructor(options: IcmpTargetsOptions) {
    this.options = options;
    this.sends.withoutSegments();
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

  open(version: IpVersion, handler: IcmpTargetHandler): IcmpTargetSocket {
    return new FfiIcmpTargetSocket(this, version, handler);
  }

  /** For sockets: one has sent a request. */
  onSend(): void {
    this.#sent++;
  }

  drain(now: number): void {
    this.#now = this.#arrivedAt = now;
    if (this.#sent > 0) {
      this.#sent = 0;
      // A near target has answered by now: its reply needs no turn of its own.
      this.sockets.look();
      this.#arrivedAt = performance.now(); // the turn's time is that of the request
    }
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

class FfiIcmpTargetSocket implements IcmpTargetSocket, ReadySocket, Sender {
  firstSend = -1;
  lastSend = -1;
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
  ) {
    this.#owner = owner;
    this.#handler = handler;
    this.#socket = new IcmpSocket(owner.libc, version);
    this.#number = owner.sockets.add(this, this.#socket);
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
    this.#owner.sockets.remove(this.#number);
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

  received(hasFailed: boolean): void {
    if (hasFailed && !this.takeReports()) this.#owner.options.counters.receiveErrors++;
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
