/**
 * Whether an address leads to this host itself: what the kernel's routes say about it, rtnetlink(7).
 *
 * The sender's address that the kernel would choose does not tell: for what goes to a second address
 * of a network it chooses the first, and for a whole prefix that is local any other.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "./libc.ts";
import { AF_INET, AF_INET6, AF_NETLINK } from "./sockaddr.ts";
import { MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_RAW } from "./socket.ts";

const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

// <linux/netlink.h>
const NETLINK_ROUTE = 0;
const NLM_F_REQUEST = 1;
const NLMSG_ERROR = 2;
/** Struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port. */
const HEADER_SIZE = 16;
// <linux/rtnetlink.h>
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const RTA_DST = 1;
/** Struct rtmsg: u8 family, destination's bits, source's, TOS, table, protocol, scope, type; u32 flags. */
const ROUTE_SIZE = 12;
const ROUTE_TYPE = HEADER_SIZE + 7;
/** Struct rtattr: u16 length, u16 type. */
const ATTRIBUTE_SIZE = 4;

/**
 * Types of routes that do not end here: to another host, and to nobody. The rest is local, broadcast,
 * anycast and multicast, which this host's sockets get too.
 */
const ELSEWHERE: readonly number[] = [1, /* unicast */ 6, /* blackhole */ 7, 8 /* prohibit */];
/** Errors that mean no route, so it is not an address of this host. */
const NO_WAY: readonly number[] = [
  Errno.EACCES, // a route that prohibits
  Errno.EINVAL, // one that is a black hole
  Errno.ENETDOWN,
  Errno.ENETUNREACH,
  Errno.EHOSTUNREACH,
];

export class LocalAddressProbe {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #fd: number;
  readonly #buffer = new Uint8Array(4096);
  readonly #view = new DataView(this.#buffer.buffer);
  #sequence = 0;

  /** @throws {Error} if the system has no such socket for us. */
  constructor() {
    const { symbols } = this.#libc;
    this.#fd = symbols.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (this.#fd >= 0) return;
    const errno = this.#libc.errno();
    this.#libc.close();
    throw new Error(`no netlink socket: errno ${errno}`);
  }

  /** @param address Its `bytes`: 4 or 16. @throws {Error} if the system gives no answer. */
  isOwn({ bytes }: { readonly bytes: Uint8Array }): boolean {
    const { symbols } = this.#libc;
    const length = this.#ask(bytes);
    if (symbols.send(this.#fd, this.#buffer, BigInt(length), MSG_DONTWAIT) !== BigInt(length)) {
      throw new Error(`send: errno ${this.#libc.errno()}`);
    }
    // The kernel answers within the call. What is left of an earlier question is passed over.
    for (;;) {
      const got = symbols.recv(this.#fd, this.#buffer, BigInt(this.#buffer.length), MSG_DONTWAIT);
      if (got < HEADER_SIZE + ROUTE_SIZE) throw new Error(`recv: errno ${this.#libc.errno()}`);
      if (this.#view.getUint32(8, true) === this.#sequence) return this.#isOwn();
    }
  }

  close(): void {
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }

  /** Writes the question. @returns its length. */
  #ask(address: Uint8Array): number {
    const view = this.#view;
    const length = HEADER_SIZE + ROUTE_SIZE + ATTRIBUTE_SIZE + address.length;
    this.#sequence = this.#sequence + 1 >>> 0;
    this.#buffer.fill(0, 0, length);
    view.setUint32(0, length, true);
    view.setUint16(4, RTM_GETROUTE, true);
    view.setUint16(6, NLM_F_REQUEST, true);
    view.setUint32(8, this.#sequence, true);
    this.#buffer[HEADER_SIZE] = address.length === 4 ? AF_INET : AF_INET6;
    this.#buffer[HEADER_SIZE + 1] = address.length * 8;
    view.setUint16(HEADER_SIZE + ROUTE_SIZE, ATTRIBUTE_SIZE + address.length, true);
    view.setUint16(HEADER_SIZE + ROUTE_SIZE + 2, RTA_DST, true);
    this.#buffer.set(address, HEADER_SIZE + ROUTE_SIZE + ATTRIBUTE_SIZE);
    return length;
  }

  #isOwn(): boolean {
    const type = this.#view.getUint16(4, true);
    if (type === RTM_NEWROUTE) return !ELSEWHERE.includes(this.#buffer[ROUTE_TYPE]!);
    const errno = type === NLMSG_ERROR ? -this.#view.getInt32(HEADER_SIZE, true) : 0;
    if (NO_WAY.includes(errno)) return false;
    throw new Error(`no answer about a route: errno ${errno}`);
  }
}
