/**
 * A listening TCP socket whose connections are accepted as descriptors, so that what the kernel knows
 * of each can be asked before a runtime's socket is made of it.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "./libc.ts";
import {
  AF_INET,
  AF_INET6,
  SOCKADDR_IN6_SIZE,
  SOCKADDR_IN_SIZE,
  writeSockaddr,
} from "./sockaddr.ts";
import {
  SO_LINGER,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./socket.ts";
import { SystemCallError } from "./system.ts";

const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
} as const;

// <linux/in6.h>, <bits/poll.h>, <bits/eventfd.h>
const SOL_IP = 0;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
/** The same number for both families: <linux/netfilter_ipv4.h>, <linux/netfilter_ipv6/ip6_tables.h>. */
const SO_ORIGINAL_DST = 80;
const POLLIN = 1;
const EFD_CLOEXEC = 0x80000;
/**
 * Errors that only mean to try again, as of a connection that ended before it was accepted; and
 * lacks of resources.
 */
const PASSING: readonly number[] = [Errno.EINTR, Errno.EPROTO, Errno.ECONNABORTED, Errno.EPERM];
const EXHAUSTED: readonly number[] = [Errno.ENFILE, Errno.EMFILE, Errno.ENOMEM, Errno.ENOBUFS];

/** V8 does not move more than 64 bytes. */
const PINNED = 128;

/** What {@link AcceptSocket.accept} found: a descriptor, or why there is none. */
export type Accepted = number | "none" | "exhausted";

export class AcceptSocket {
  readonly port: number;
  /** Who made the connection last accepted: a socket address, as words. */
  readonly source = new Int32Array(PINNED / 4);
  /** Where it wanted to go, set by {@link readOriginal}. */
  readonly original = new Int32Array(PINNED / 4);
  /** Which address of this host took it, set by {@link readLocal}. */
  readonly local = new Int32Array(PINNED / 4);
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #length = new Uint32Array(PINNED / 4);
  readonly #poll = new Int32Array(PINNED / 4);
  readonly #sourceBytes = new Uint8Array(this.source.buffer);
  readonly #originalBytes = new Uint8Array(this.original.buffer);
  readonly #localBytes = new Uint8Array(this.local.buffer);
  readonly #fd: number;
  /** Readable when a wait is to end. */
  readonly #end: number;
  #isClosed = false;
  #isWaiting = false;

  /**
   * Listens on every address of both families, or of IPv4 alone where there is no other.
   *
   * @param port 0: any free one.
   * @throws {Deno.errors.AddrInUse}
   * @throws {SystemCallError}
   */
  constructor(port: number, backlog: number) {
    const { symbols } = this.#libc;
    let isIpv6 = true;
    this.#fd = this.#open(AF_INET6);
    if (this.#fd < 0 && this.#libc.errno() === Errno.EAFNOSUPPORT) {
      isIpv6 = false;
      this.#fd = this.#open(AF_INET);
    }
    this.#end = symbols.eventfd(0, EFD_CLOEXEC);
    try {
      if (this.#fd < 0 || this.#end < 0) throw this.#error("no socket");
      this.#set(SOL_SOCKET, SO_REUSEADDR, 1);
      if (isIpv6) this.#set(SOL_IPV6, IPV6_V6ONLY, 0);
      const address = this.#sourceBytes;
      const size = writeSockaddr(address, new Uint8Array(isIpv6 ? 16 : 4), port);
      if (symbols.bind(this.#fd, address, size) !== 0 || symbols.listen(this.#fd, backlog) !== 0) {
        if (this.#libc.errno() === Errno.EADDRINUSE) {
          throw new Deno.errors.AddrInUse(`TCP port ${port} is in use`);
        }
        throw this.#error(`TCP port ${port}`);
      }
      this.#length[0] = PINNED;
      symbols.getsockname(this.#fd, this.#localBytes, this.#length);
      this.port = this.#localBytes[2]! << 8 | this.#localBytes[3]!;
    } catch (error) {
      this.#release();
      this.#libc.close();
      throw error;
    }
  }

  /** Takes a connection that waits, and sets {@link source}. Its descriptor is the caller's, non-blocking. */
  accept(): Accepted {
    if (this.#isClosed) return "none";
    const { symbols, errno } = this.#libc;
    for (;;) {
      this.#length[0] = PINNED;
      const fd = symbols.accept4(
        this.#fd,
        this.#sourceBytes,
        this.#length,
        SOCK_NONBLOCK | SOCK_CLOEXEC,
      );
      if (fd >= 0) return fd;
      const code = errno();
      if (EXHAUSTED.includes(code)) return "exhausted";
      if (!PASSING.includes(code)) return "none";
    }
  }

  /**
   * Reads where an accepted connection wanted to go before the packet filter redirected it.
   *
   * @returns false if that is not known.
   */
  readOriginal(fd: number): boolean {
    // A connection over IPv4 at a socket of both families is asked for as one of IPv4.
    return this.#readOriginal(fd, SOL_IP, SOCKADDR_IN_SIZE) ||
      this.#readOriginal(fd, SOL_IPV6, SOCKADDR_IN6_SIZE);
  }

  /** Reads which address and port of this host took the connection. */
  readLocal(fd: number): boolean {
    this.#length[0] = PINNED;
    return this.#libc.symbols.getsockname(fd, this.#localBytes, this.#length) === 0;
  }

  /** Closes an accepted connection by a reset. */
  reset(fd: number): void {
    const { symbols } = this.#libc;
    const linger = new Int32Array(PINNED / 4); // struct linger: int on, int seconds
    linger[0] = 1;
    symbols.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, 8);
    symbols.close(fd);
  }

  /** Waits for a connection, on a thread of the runtime's. @returns false once it is closed. */
  async wait(): Promise<boolean> {
    if (this.#isClosed) return false;
    // Struct pollfd: int fd, short events, short revents.
    this.#poll.set([this.#fd, POLLIN, this.#end, POLLIN]);
    this.#isWaiting = true;
    await this.#libc.symbols.poll(this.#poll, 2n, -1);
    this.#isWaiting = false;
    if (!this.#isClosed) return true;
    this.#release();
    return false;
  }

  /**
   * Stops listening. Idempotent. A pending {@link wait} ends, and connections that were not accepted are
   * reset. Accepted ones can still be reset, until {@link free}.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isWaiting) {
      this.#release();
      return;
    }
    const one = new Uint8Array(PINNED);
    one[0] = 1;
    this.#libc.symbols.write(this.#end, one, 8n);
  }

  /** Called last, when no {@link wait} is pending. */
  free(): void {
    this.#libc.close();
  }

  #open(family: number): number {
    return this.#libc.symbols.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  }

  #readOriginal(fd: number, level: number, size: number): boolean {
    this.#length[0] = size;
    const { symbols } = this.#libc;
    return symbols.getsockopt(fd, level, SO_ORIGINAL_DST, this.#originalBytes, this.#length) === 0;
  }

  #set(level: number, option: number, value: number): void {
    const bytes = new Int32Array(PINNED / 4);
    bytes[0] = value;
    this.#libc.symbols.setsockopt(this.#fd, level, option, bytes, 4);
  }

  #release(): void {
    for (const fd of [this.#fd, this.#end]) if (fd >= 0) this.#libc.symbols.close(fd);
  }

  #error(what: string): SystemCallError {
    return new SystemCallError(what, this.#libc.errno());
  }
}
