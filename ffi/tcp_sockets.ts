/**
 * TCP sockets by the system's own calls, and one wait for all of them.
 *
 * A connection of the runtime's takes some twenty objects, some of them native, which only a full garbage
 * collection frees, and each read allocates 64 KiB. Here it is a descriptor and nothing else.
 *
 * @module
 */

import { DescriptorWait } from "./descriptor_wait.ts";
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  EVENT_DATA,
  EVENT_WORDS,
} from "./epoll.ts";
import { Errno, errorOf, type Libc, openLibc } from "./libc.ts";
import { AF_INET, AF_INET6, writeSockaddr } from "./sockaddr.ts";
import { INFO_BYTES, RTT, TCP_INFO } from "./tcp_info.ts";
import { SO_LINGER, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET } from "./socket.ts";

const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // Not more than 2³¹ bytes at once: what they return is read as 32 bits, which makes no BigInt.
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const;

// <bits/socket.h>, <asm-generic/socket.h>, <linux/tcp.h>, <sys/socket.h>
const MSG_NOSIGNAL = 0x4000;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const SHUT_WR = 1;
const MAX_EVENTS = 128;
/** More than 64 bytes are never on V8's own heap, so they are not moved under the kernel's hands. */
const OFF_HEAP = 128;

/** What has happened at a socket since its last event, as bits. */
export const TcpEvent = {
  /** It is connected, or takes more bytes again. */
  WRITABLE: EPOLLOUT,
  /** Bytes have arrived, or the end. */
  READABLE: EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR,
  /** The end is among them: reading goes on until it is met. */
  END: EPOLLRDHUP | EPOLLHUP | EPOLLERR,
  FAILED: EPOLLERR,
} as const;

/** Where a result is below zero it is an error number of <asm-generic/errno.h>, negated. */
export class TcpSockets {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #epoll: number;
  readonly #wait: DescriptorWait;
  readonly #events = new Uint32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #event = new Uint32Array(OFF_HEAP / 4);
  readonly #address = new Uint8Array(OFF_HEAP);
  readonly #value = new Int32Array(OFF_HEAP / 4);
  readonly #length = new Uint32Array(OFF_HEAP / 4);

  /**
   * @param works As of {@link DescriptorWait}, for tests.
   * @throws {Error} without `--allow-ffi`, or if the system gives no descriptor.
   */
  constructor(works?: boolean) {
    const { symbols } = this.#libc;
    this.#epoll = symbols.epoll_create1(EPOLL_CLOEXEC);
    try {
      if (this.#epoll < 0) throw errorOf(this.#libc.errno(), "no epoll instance");
      this.#wait = new DescriptorWait(this.#epoll, works);
    } catch (error) {
      if (this.#epoll >= 0) symbols.close(this.#epoll);
      this.#libc.close();
      throw error;
    }
  }

  /** Whether only a thread waits, at ten times the cost a wake. */
  get isOnThread(): boolean {
    return this.#wait.isOnThread;
  }

  /** Waits without a thread from now on, if want of a descriptor was all that stood in the way. */
  retry(): void {
    this.#wait.retry();
  }

  /** Resolves when it is known whether waiting without a thread works here. */
  get tried(): Promise<void> {
    return this.#wait.tried;
  }

  /**
   * Begins to connect a socket, and to watch it until it is closed.
   *
   * @param address 4 or 16 bytes.
   * @param number What {@link eventNumber} gives for it, 32 bits: descriptors are used again.
   * @param keepAliveS How long it is idle before it is probed, seconds.
   * @returns its descriptor, non-blocking.
   */
  connect(address: Uint8Array, port: number, number: number, keepAliveS: number): number {
    const { symbols } = this.#libc;
    const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    const fd = symbols.socket(address.length === 4 ? AF_INET : AF_INET6, type, 0);
    if (fd < 0) return this.#failure();
    this.#set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    this.#set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    this.#set(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepAliveS);
    const size = writeSockaddr(this.#address, address, port);
    let failure = 0;
    if (symbols.connect(fd, this.#address, size) !== 0) failure = this.#failure();
    // Added only now: epoll reports a socket that is not connecting yet as hung up.
    if (failure === 0 || failure === -Errno.EINPROGRESS) {
      failure = 0;
      this.#event[0] = (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) >>> 0;
      this.#event[EVENT_DATA] = fd;
      this.#event[EVENT_DATA + 1] = number;
      if (symbols.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#event) !== 0) {
        failure = this.#failure();
      }
    }
    if (failure === 0) return fd;
    symbols.close(fd);
    return failure;
  }

  /** Takes the events that have come. @returns how many; {@link eventBits} and so on tell of each. */
  poll(): number {
    return Math.max(0, this.#libc.symbols.epoll_wait(this.#epoll, this.#events, MAX_EVENTS, 0));
  }

  /** {@link TcpEvent} */
  eventBits(event: number): number {
    return this.#events[event * EVENT_WORDS]!;
  }

  eventDescriptor(event: number): number {
    return this.#events[event * EVENT_WORDS + EVENT_DATA]!;
  }

  eventNumber(event: number): number {
    return this.#events[event * EVENT_WORDS + EVENT_DATA + 1]!;
  }

  /**
   * Calls `onEvents` once {@link poll} may find something, or this is closed. To be called in the same
   * turn of the event loop as a poll that found nothing.
   */
  wait(onEvents: () => void): void {
    this.#wait.wait(onEvents);
  }

  /** Why a socket has failed, as a positive number; 0 if it has not. */
  error(fd: number): number {
    this.#length[0] = 4;
    const { symbols } = this.#libc;
    const result = symbols.getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#value, this.#length);
    return result === 0 ? this.#value[0]! : this.#libc.errno();
  }

  /** @returns how many bytes the system has taken. */
  send(fd: number, bytes: Uint8Array, length: number): number {
    const count = this.#libc.symbols.send(fd, bytes, BigInt(length), MSG_NOSIGNAL);
    return count < 0 ? this.#failure() : count;
  }

  /** @returns how many bytes were read into the beginning of `into`; 0 at the end. */
  receive(fd: number, into: Uint8Array, most: bigint): number {
    const count = this.#libc.symbols.recv(fd, into, most, 0);
    return count < 0 ? this.#failure() : count;
  }

  /** Ends what this side sends. */
  shutdown(fd: number): void {
    this.#libc.symbols.shutdown(fd, SHUT_WR);
  }

  /** Undefined if it is not known. */
  localPort(fd: number): number | undefined {
    this.#length[0] = this.#address.length;
    const { symbols } = this.#libc;
    if (symbols.getsockname(fd, this.#address, this.#length) !== 0) return undefined;
    return this.#address[2]! << 8 | this.#address[3]!;
  }

  /** Smoothed, in whole µs; 0 if it is not known. */
  roundTrip(fd: number): number {
    this.#length[0] = INFO_BYTES;
    const { symbols } = this.#libc;
    const result = symbols.getsockopt(fd, IPPROTO_TCP, TCP_INFO, this.#value, this.#length);
    return result !== 0 || this.#length[0]! < INFO_BYTES ? 0 : this.#value[RTT]!;
  }

  closeSocket(fd: number): void {
    this.#libc.symbols.close(fd);
  }

  /** Closes a socket by a reset. */
  reset(fd: number): void {
    this.#value[0] = 1; // struct linger: int on, int seconds
    this.#value[1] = 0;
    this.#libc.symbols.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#value, 8);
    this.#libc.symbols.close(fd);
  }

  /** Sockets are to be closed before. */
  async close(): Promise<void> {
    await this.#wait.close();
    this.#libc.symbols.close(this.#epoll);
    this.#libc.close();
  }

  #set(fd: number, level: number, option: number, value: number): void {
    this.#value[0] = value;
    this.#libc.symbols.setsockopt(fd, level, option, this.#value, 4);
  }

  #failure(): number {
    return -this.#libc.errno();
  }
}
