/**
 * What the network reports about datagrams that were sent: the error queue of a socket with
 * `IP_RECVERR` (ip(7), ipv6(7), <linux/errqueue.h>).
 *
 * @module
 */

import { SOCKADDR_IN6_SIZE } from "./sockaddr.ts";
import {
  CMSG_DATA,
  CMSG_LEVEL,
  CMSG_TYPE,
  CONTROL_LENGTH,
  CONTROL_SIZE,
  MessageArray,
  MMSGHDR_SIZE,
  MSG_DONTWAIT,
  NAME_LENGTH,
  NAME_SIZE,
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
// A control buffer takes just that: a struct cmsghdr, a struct sock_extended_err, and who reports, a
// struct sockaddr_in6: CMSG_SPACE(44).
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
  readonly #messages = new MessageArray(MAX_REPORTS);
  readonly #controlBytes: Uint8Array;

  constructor(libc: UdpLibc) {
    this.#libc = libc;
    this.names = new Int32Array(this.#messages.names.buffer);
    this.#controlBytes = new Uint8Array(this.#messages.controls.buffer);
  }

  /**
   * Takes all reports there are. The socket then has no error pending: a pending one makes the next call
   * on the socket fail, whatever that call is.
   *
   * @returns how many.
   */
  drain(fd: number, handle: ErrorHandler): number {
    const { words, from } = this.#messages;
    let total = 0;
    for (;;) {
      for (let i = 0; i < MAX_REPORTS; i++) { // the kernel has overwritten them
        words[i * MMSGHDR_SIZE / 4 + NAME_LENGTH] = SOCKADDR_IN6_SIZE;
        words[i * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] = CONTROL_SIZE;
      }
      const flags = MSG_ERRQUEUE | MSG_DONTWAIT;
      const count = this.#libc.symbols.recvmmsg(fd, from[0]!, MAX_REPORTS, flags, null);
      for (let i = 0; i < count; i++) this.#report(i, handle);
      total += Math.max(0, count);
      if (count < MAX_REPORTS) return total;
    }
  }

  #report(n: number, handle: ErrorHandler): void {
    const { words, controls } = this.#messages;
    if (words[n * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] === 0) return;
    const control = n * CONTROL_SIZE / 4;
    const level = controls[control + CMSG_LEVEL];
    const type = controls[control + CMSG_TYPE];
    const isReport = level === SOL_IP && type === IP_RECVERR ||
      level === SOL_IPV6 && type === IPV6_RECVERR;
    if (!isReport) return;
    const data = control + CMSG_DATA;
    handle(
      n * NAME_SIZE / 4,
      this.#controlBytes[data * 4 + EE_ORIGIN]!,
      this.#controlBytes[data * 4 + EE_TYPE]!,
      this.#controlBytes[data * 4 + EE_CODE]!,
      controls[data + EE_INFO]!,
    );
  }
}
