/**
 * A socket of the kernel's routing family, rtnetlink(7): one request at a time, answered within the
 * call. It belongs to the network namespace of the thread that opens it, wherever that goes later.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "../libc.ts";
import { decodeError, NetlinkError } from "./error.ts";
import {
  decodeMessages,
  encodeMessage,
  Flag,
  type Message,
  NLMSG_DONE,
  NLMSG_ERROR,
  viewOf,
} from "./message.ts";
import { AF_NETLINK } from "../sockaddr.ts";
import { MSG_DONTWAIT, MSG_PEEK, SOCK_CLOEXEC, SOCK_RAW } from "../socket.ts";

const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

// <bits/socket.h>
const MSG_TRUNC = 0x20;
// <linux/netlink.h>
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** A list that changes while it is read is read again, so many times. */
const MAX_DUMPS = 16;

export class NetlinkSocket {
  readonly #fd: number;
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  #buffer = new Uint8Array(32 << 10);
  #sequence = 0;
  #isClosed = false;

  /** @throws {NetlinkError} if the system gives none. */
  constructor() {
    const { symbols } = this.#libc;
    this.#fd = symbols.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (this.#fd < 0) {
      const errno = this.#libc.errno();
      this.#libc.close();
      throw new NetlinkError("open a netlink socket", errno);
    }
    // A kernel that lacks one of these says less, or sends more than was asked for.
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
      symbols.setsockopt(this.#fd, SOL_NETLINK, option, Uint32Array.of(1), 4);
    }
  }

  /**
   * Has the kernel do something.
   *
   * @param operation What an error says cannot be done.
   * @param body The fixed struct and attributes.
   * @throws {NetlinkError} if it does not.
   */
  request(operation: string, type: number, flags: number, ...body: readonly Uint8Array[]): void {
    this.#send(operation, type, Flag.REQUEST | Flag.ACK | flags, body);
    this.#answers(operation, () => {});
  }

  /** Asks for one thing. @returns the answer's body. @throws {NetlinkError} if there is none. */
  get(operation: string, type: number, ...body: readonly Uint8Array[]): Uint8Array {
    let answer: Uint8Array | undefined;
    this.#send(operation, type, Flag.REQUEST | Flag.ACK, body);
    this.#answers(operation, (message) => answer = message.body.slice());
    if (answer === undefined) throw new NetlinkError(operation, Errno.EIO, "no answer");
    return answer;
  }

  /** Asks for a list. @returns the answers' bodies. @throws {NetlinkError} */
  dump(operation: string, type: number, ...body: readonly Uint8Array[]): Uint8Array[] {
    for (let i = 0; i < MAX_DUMPS; i++) {
      const found: Uint8Array[] = [];
      this.#send(operation, type, Flag.REQUEST | Flag.DUMP, body);
      const isWhole = this.#answers(operation, (message) => found.push(message.body.slice()));
      if (isWhole) return found;
    }
    throw new NetlinkError(operation, Errno.EAGAIN, "it changed all the time");
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }

  #send(operation: string, type: number, flags: number, body: readonly Uint8Array[]): void {
    if (this.#isClosed) throw new Error("the netlink socket is closed");
    this.#sequence = this.#sequence + 1 >>> 0;
    const message = encodeMessage(type, flags, this.#sequence, ...body);
    for (;;) {
      const sent = this.#libc.symbols.send(this.#fd, message, BigInt(message.length), 0);
      if (sent === BigInt(message.length)) return;
      const errno = this.#libc.errno();
      if (errno !== Errno.EINTR) throw new NetlinkError(operation, errno);
    }
  }

  /**
   * Reads until the acknowledgement, or the end of the list.
   *
   * @returns whether the list did not change meanwhile.
   */
  #answers(operation: string, found: (message: Message) => void): boolean {
    let isWhole = true;
    for (;;) {
      // The kernel answers within the call that asks; what is not here by now never comes.
      const datagram = this.#receive();
      if (typeof datagram === "number") throw new NetlinkError(operation, datagram);
      for (const message of decodeMessages(datagram)) {
        if (message.sequence !== this.#sequence) continue; // left over from a request that failed
        if ((message.flags & Flag.DUMP_INTERRUPTED) !== 0) isWhole = false;
        if (message.type === NLMSG_ERROR) {
          const { errno, detail } = decodeError(message);
          if (errno !== 0) throw new NetlinkError(operation, errno, detail);
          return isWhole;
        }
        if (message.type === NLMSG_DONE) {
          const result = message.body.length >= 4 ? viewOf(message.body).getInt32(0, true) : 0;
          if (result < 0) throw new NetlinkError(operation, -result);
          return isWhole;
        }
        found(message);
      }
    }
  }

  /** @returns a datagram, borrowed until the next, or an errno. */
  #receive(): Uint8Array | number {
    const { symbols } = this.#libc;
    for (;;) {
      // Its length first: what does not fit would be cut off and lost.
      const flags = MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC;
      const waiting = Number(symbols.recv(this.#fd, this.#buffer, 0n, flags));
      if (waiting > this.#buffer.length) this.#buffer = new Uint8Array(waiting);
      const size = BigInt(this.#buffer.length);
      const length = waiting < 0
        ? waiting
        : Number(symbols.recv(this.#fd, this.#buffer, size, MSG_DONTWAIT));
      if (length >= 0) return this.#buffer.subarray(0, length);
      const errno = this.#libc.errno();
      if (errno !== Errno.EINTR) return errno;
    }
  }
}
