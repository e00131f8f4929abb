/**
 * What the network reports about datagrams that were sent: the error queue of a socket with
 * `IP_RECVERR` (ip(7), ipv6(7), <linux/errqueue.h>).
 *
 * @module
 */

import { addressOf, store64 } from "./libc.ts";
import {
  CMSG_DATA,
  CMSG_LEVEL,
  CMSG_TYPE,
  CONTROL_LENGTH,
  MMSGHDR_SIZE,
  MSG_DONTWAIT,
  NAME_LENGTH,
  NAME_SIZE,
  SOCKADDR_IN6_SIZE,
  SOL_IP,
  SOL_IPV6,
  type UdpLibc,
} from "./udp_layout.ts";

/** Where a report comes from (`ee_origin`). */
export const ErrorOrigin = { LOCAL: 1, ICMP: 2, ICMPV6: 3 } as const;

/**
 * @param to Socket address the datagram went to, from this word of {@link ErrorQueue.names} on.
 * @param origin See {@link ErrorOrigin}.
 * @param type Of the ICMP message, and its code.
 * @param info The MTU, if it is about a datagram that was too big.
 */
export type ErrorHandler = (
  to: number,
  origin: number,
  type: number,
  code: number,
  info: number,
) => void;

export const IP_RECVERR = 11;
export const IPV6_RECVERR = 25;
const MSG_ERRQUEUE = 0x2000;

/** Reports of one call. */
const MAX_REPORTS = 16;
/** Room for a struct cmsghdr, a struct sock_extended_err, and who reports. */
const CONTROL_BYTES = 128;
// As indices of 32-bit words from the start of a struct mmsghdr.
const NAME = 0 / 4;
const CONTROL = 32 / 4;
// struct sock_extended_err: uint32 errno, uint8 origin, type, code, padding, uint32 info.
const EE_ORIGIN = 4;
const EE_TYPE = 5;
const EE_CODE = 6;
const EE_INFO = 8 / 4;

/** Reads error queues, of one socket after another. */
export class ErrorQueue {
  /** Socket addresses, as words. */
  readonly names: Int32Array<ArrayBuffer>;
  readonly #libc: UdpLibc;
  // The kernel has the addresses of these buffers.
  readonly #structs = new Uint8Array(MAX_REPORTS * MMSGHDR_SIZE);
  readonly #words = new Uint32Array(this.#structs.buffer);
  readonly #names = new Uint8Array(MAX_REPORTS * NAME_SIZE);
  readonly #controls = new Uint8Array(MAX_REPORTS * CONTROL_BYTES);
  readonly #controlWords = new Uint32Array(this.#controls.buffer);

  constructor(libc: UdpLibc) {
    this.#libc = libc;
    this.names = new Int32Array(this.#names.buffer);
    const [name, control] = [addressOf(this.#names), addressOf(this.#controls)];
    for (let i = 0; i < MAX_REPORTS; i++) {
      const at = i * MMSGHDR_SIZE / 4;
      store64(this.#words, at + NAME, name + i * NAME_SIZE);
      store64(this.#words, at + CONTROL, control + i * CONTROL_BYTES);
    }
  }

  /**
   * Takes all reports there are. The socket then has no error pending: one makes the next call on the
   * socket fail, whatever that is about.
   *
   * @returns how many.
   */
  drain(fd: number, handle: ErrorHandler): number {
    let total = 0;
    for (;;) {
      for (let i = 0; i < MAX_REPORTS; i++) { // the kernel has overwritten them
        this.#words[i * MMSGHDR_SIZE / 4 + NAME_LENGTH] = SOCKADDR_IN6_SIZE;
        this.#words[i * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] = CONTROL_BYTES;
      }
      const flags = MSG_ERRQUEUE | MSG_DONTWAIT;
      const count = this.#libc.symbols.recvmmsg(fd, this.#structs, MAX_REPORTS, flags, null);
      for (let i = 0; i < count; i++) this.#report(i, handle);
      total += Math.max(0, count);
      if (count < MAX_REPORTS) return total;
    }
  }

  #report(n: number, handle: ErrorHandler): void {
    if (this.#words[n * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] === 0) return;
    const control = n * CONTROL_BYTES / 4;
    const level = this.#controlWords[control + CMSG_LEVEL];
    const type = this.#controlWords[control + CMSG_TYPE];
    const isReport = level === SOL_IP && type === IP_RECVERR ||
      level === SOL_IPV6 && type === IPV6_RECVERR;
    if (!isReport) return;
    const data = control + CMSG_DATA;
    handle(
      n * NAME_SIZE / 4,
      this.#controls[data * 4 + EE_ORIGIN]!,
      this.#controls[data * 4 + EE_TYPE]!,
      this.#controls[data * 4 + EE_CODE]!,
      this.#controlWords[data + EE_INFO]!,
    );
  }
}
