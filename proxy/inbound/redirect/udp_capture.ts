/**
 * Datagrams that the packet filter hands to a port of ours (TPROXY), and the answers to them.
 *
 * @module
 */

import {
  AF_INET,
  DescriptorWait,
  LOCAL,
  MESSAGE_BYTES,
  openUdpLibc,
  ORIGINAL,
  receiveForeign,
  ReceiveRing,
  type UdpLibc,
  UdpSocket,
} from "../../../ffi/mod.ts";
import type { IpAddress } from "../../../netstack/mod.ts";
import { hashOf, ipAt, portAt, TargetAddress } from "../../target/address.ts";
import { TargetSends } from "../../target/udp_sends.ts";
import type { UdpTargetsOptions } from "../../target/udp.ts";
import type { InboundUdpSession, UdpProgram } from "../udp_session.ts";
import type { ProgramSockets } from "../udp.ts";
import type { CaptureCounters } from "../counters.ts";
import { type ReplySocket, ReplySockets } from "./reply_sockets.ts";

/** Messages that one call receives. */
const RING_MESSAGES = 32;
/** Datagrams that a turn hands on. */
const DRAIN_BUDGET = 128;
/** After so many errors in a row receiving pauses. */
const MAX_ERRORS = 16;
const PAUSE_MS = 100;
/** `struct sockaddr_in6` in words; that of IPv4 is shorter. */
const SOCKADDR_WORDS = 7;

export interface UdpCaptureOptions extends UdpTargetsOptions {
  readonly port: number;
  /** Of what is sent to programs. */
  readonly mark: number;
  readonly capture: CaptureCounters;
  /** The first datagram of a program's port. @returns undefined if it is refused. */
  begins(
    program: UdpProgram,
    destination: IpAddress,
    port: number,
    now: number,
  ): InboundUdpSession | undefined;
}

export class UdpCapture implements ProgramSockets {
  readonly #options: UdpCaptureOptions;
  readonly #libc: UdpLibc = openUdpLibc();
  readonly #ring: ReceiveRing;
  readonly #socket: UdpSocket;
  readonly #wait: DescriptorWait;
  readonly #sends: TargetSends;
  readonly #replies: ReplySockets;
  /** By {@link hashOf} their socket addresses; chained. */
  readonly #programs = new Map<number, Program>();
  #last: Program | undefined;
  /** The socket address that the last datagram was on its way to, and the same as an object. */
  readonly #original = new Int32Array(SOCKADDR_WORDS);
  #destination: IpAddress | undefined;
  #destinationPort = 0;
  #isWaiting = false;
  readonly #onReadable = () => {
    this.#isWaiting = false;
    if (!this.#isClosed) this.#options.wake();
  };
  #errors = 0;
  #isClosed = false;
  #pause: ReturnType<typeof setTimeout> | undefined;

  /**
   * @throws {Deno.errors.AddrInUse} if the port is.
   * @throws {SystemCallError} without CAP_NET_ADMIN.
   */
  constructor(options: UdpCaptureOptions) {
    this.#options = options;
    const libc = this.#libc;
    try {
      this.#ring = new ReceiveRing(libc, new Uint8Array(RING_MESSAGES * MESSAGE_BYTES));
      this.#socket = openOnAll(libc, options.port);
    } catch (error) {
      libc.close();
      throw error;
    }
    try {
      receiveForeign(libc, this.#socket.fd, this.#socket.address.hostname.includes(":"));
      this.#wait = new DescriptorWait(this.#socket.fd);
    } catch (error) {
      this.#socket.close();
      libc.close();
      throw error;
    }
    const sends = this.#sends = new TargetSends(libc);
    if (!this.#socket.hasGso) sends.withoutSegments();
    const { mark, counters: targetCounters, capture: counters } = options;
    this.#replies = new ReplySockets({ libc, sends, mark, targetCounters, counters });
    this.#startWaiting();
  }

  get hasReady(): boolean {
    return !this.#isWaiting && !this.#isClosed && this.#options.hasRoom();
  }

  /** Sockets that answer. */
  get replySockets(): number {
    return this.#replies.size;
  }

  drain(now: number): void {
    if (!this.hasReady) return;
    const ring = this.#ring;
    ring.fill(this.#socket.fd);
    if (ring.error !== 0) this.#countError();
    else if (!ring.isEmpty) this.#errors = 0;
    for (let count = 0; count < DRAIN_BUDGET && ring.next(); count++) this.#hand(ring, now);
    ring.release();
    if (ring.isEmpty && (ring.isExhausted || this.#errors >= MAX_ERRORS)) this.#startWaiting();
  }

  flush(): void {
    this.#sends.flush();
  }

  pollTimeout(): number {
    return this.#replies.pollTimeout();
  }

  handleTimeout(now: number): void {
    this.#replies.handleTimeout(now);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#pause);
    this.#sends.flush();
    this.#replies.close();
    await this.#wait.close();
    this.#socket.close();
    this.#libc.close();
  }

  /** For programs: the socket that answers in the name of `from`. */
  replySocket(from: IpAddress, port: number, now: number): ReplySocket {
    return this.#replies.of(from, port, now);
  }

  /** For programs: there is something to send. */
  wake(): void {
    this.#options.wake();
  }

  /** For programs: its session is over. */
  forget(program: Program): void {
    if (this.#last === program) this.#last = undefined;
    const { hash } = program.address;
    const first = this.#programs.get(hash);
    if (first === program) {
      if (program.next === undefined) this.#programs.delete(hash);
      else this.#programs.set(hash, program.next);
      return;
    }
    for (let one = first; one !== undefined; one = one.next) {
      if (one.next === program) one.next = program.next;
    }
  }

  #hand(ring: ReceiveRing, now: number): void {
    const { senders, sender, memory, offset, length } = ring;
    if (!this.#setDestination(senders, sender)) {
      this.#options.capture.stray++;
      return;
    }
    const destination = this.#destination!;
    const port = this.#destinationPort;
    const program = this.#programAt(senders, sender);
    if (program !== undefined) {
      program.session!.forward(destination, port, memory, offset, length, now);
      return;
    }
    const address = ipAt(senders, sender);
    if (address === undefined) return;
    const begun = new Program(this, address, portAt(senders, sender));
    const session = this.#options.begins(begun, destination, port, now);
    if (session === undefined) return;
    begun.session = session;
    begun.next = this.#programs.get(begun.address.hash);
    this.#programs.set(begun.address.hash, this.#last = begun);
    session.forward(destination, port, memory, offset, length, now);
  }

  #programAt(words: Int32Array, at: number): Program | undefined {
    if (this.#last?.address.isAt(words, at)) return this.#last;
    let program = this.#programs.get(hashOf(words, at));
    while (program !== undefined && !program.address.isAt(words, at)) program = program.next;
    return this.#last = program;
  }

  /**
   * Has the destination of the datagram from `at` on as an object, the same as long as it stays.
   *
   * @returns false if it is not known.
   */
  #setDestination(senders: Int32Array, at: number): boolean {
    const original = this.#original;
    const first = senders[at + ORIGINAL]!;
    let isSame = original[0] === first && this.#destination !== undefined;
    // A socket address of IPv4 has the address in its 2nd word, one of IPv6 from the 3rd on.
    const isIpv4 = (first & 0xffff) === AF_INET;
    const into = isIpv4 ? 1 : 2;
    const count = isIpv4 ? 1 : 4;
    for (let i = 0; i < count; i++) isSame &&= original[into + i] === senders[at + LOCAL + i];
    if (isSame) return true;
    original.fill(0);
    original[0] = first;
    for (let i = 0; i < count; i++) original[into + i] = senders[at + LOCAL + i]!;
    this.#destination = ipAt(original, 0);
    this.#destinationPort = portAt(original, 0);
    return this.#destination !== undefined;
  }

  #countError(): void {
    this.#options.counters.receiveErrors++;
    this.#errors++;
  }

  #startWaiting(): void {
    this.#isWaiting = true;
    if (this.#errors < MAX_ERRORS) this.#wait.wait(this.#onReadable);
    else {
      this.#errors = 0;
      this.#pause = setTimeout(this.#onReadable, PAUSE_MS);
    }
  }
}

/** A port of a program of this host, or of a host that this one forwards for. */
class Program implements UdpProgram {
  readonly source: IpAddress;
  readonly sourcePort: number;
  /** As the socket that receives has it. */
  readonly address: TargetAddress;
  session: InboundUdpSession | undefined = undefined;
  next: Program | undefined = undefined;
  readonly #capture: UdpCapture;
  /** As the sockets that answer have it. */
  readonly #to: TargetAddress;
  #socket: ReplySocket | undefined = undefined;
  #from: IpAddress | undefined = undefined;
  #fromPort = 0;

  constructor(capture: UdpCapture, address: IpAddress, port: number) {
    this.#capture = capture;
    this.address = new TargetAddress(address, port);
    this.source = address.unmapped();
    this.sourcePort = port;
    this.#to = this.source === address ? this.address : new TargetAddress(this.source, port);
  }

  reply(
    from: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    if (from !== this.#from || port !== this.#fromPort || !this.#socket?.isOpen) {
      this.#socket = this.#capture.replySocket(from, port, now);
      this.#from = from;
      this.#fromPort = port;
    }
    if (!this.#socket.send(this.#to, buffer, offset, length, now)) return false;
    this.#capture.wake();
    return true;
  }

  ended(): void {
    this.#capture.forget(this);
  }
}

/** On every address of both families, or of IPv4 alone where there is no other. */
function openOnAll(libc: UdpLibc, port: number): UdpSocket {
  try {
    return new UdpSocket(libc, { hostname: "::", port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw error;
    return new UdpSocket(libc, { hostname: "0.0.0.0", port });
  }
}
