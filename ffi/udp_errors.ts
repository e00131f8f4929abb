/**
 * What the network reports about datagrams that were sent: the error queue of a socket with
 * `IP_RECVERR` (ip(7), ipv6(7), <linux/errqueue.h>).
 *
 * @module
 */

import { SOCKADDR_IN6_SIZE } from "./sockaddr.ts";
import { MSG_DONTWAIT } from "./socket.ts";
import {
  CMSG_DATA,
  CMSG_LEVEL,
  CMSG_TYPE,
  cmsgAligned,
  CONTROL_LENGTH,
  IovecArray,
  MESSAGE_LENGTH,
  MessageArray,
  MMSGHDR_SIZE,
  NAME_LENGTH,
  NAME_SIZE,
  SOL_IP,
  SOL_IPV6,
  type UdpLibc,
} from "./udp_layout.ts";

/** Where a report comes from (`ee_origin`). */
export const ErrorOrigin = { LOCAL: 1, ICMP: 2, ICMPV6: 3 } as const;

/**
 * Called for each report. What it was told lies in the queue's arrays until it returns.
 *
 * @param to Socket address the datagram went to, from this word of {@link ErrorQueue.names} on.
 * @param origin See {@link ErrorOrigin}.
 * @param type Of the ICMP message, and its code.
 * @param info The MTU, if it is about a datagram that was too big.
 * @param offender Socket address of who reports, from this word of {@link ErrorQueue.offenders} on;
 * its family is 0 if that is not known.
 * @param quoted The first bytes of the message sent, from its ICMP header on if it was ICMP, from this
 * byte of {@link ErrorQueue.quotes} on.
 * @param quotedLength How many of them are known: at most {@link QUOTED_BYTES}.
 */
export type ErrorHandler = (
  to: number,
  origin: number,
  type: number,
  code: number,
  info: number,
  offender: number,
  quoted: number,
  quotedLength: number,
) => void;

export const IP_RECVERR = 11;
export const IPV6_RECVERR = 25;
const MSG_ERRQUEUE = 0x2000;

/** The header of an ICMP message. */
export const QUOTED_BYTES = 8;
/** From one quote to the next. */
const QUOTE_SIZE = 16;
/**
 * Of a control buffer: a TTL where the socket has it told, CMSG_SPACE(4), and a struct
 * sock_extended_err with who reports, a struct sockaddr_in6, CMSG_SPACE(44).
 */
const REPORT_CONTROL_SIZE = 96;

/** Reports of one call. */
const MAX_REPORTS = 16;
/** Of so many reports at once: where they come as fast as they are taken, others have a turn. */
const MAX_ROUNDS = 16;
// struct sock_extended_err: uint32 errno, uint8 origin, type, code, padding, uint32 info.
const EE_ORIGIN = 4;
const EE_TYPE = 5;
const EE_CODE = 6;
const EE_INFO = 8 / 4;
/** From the start of the struct to who reports, words. */
const EE_OFFENDER = 16 / 4;

/** Reads error queues, of one socket after another. */
export class ErrorQueue {
  /** Socket addresses, as words. */
  readonly names: Int32Array<ArrayBuffer>;
  readonly offenders: Int32Array<ArrayBuffer>;
  readonly quotes: Uint8Array<ArrayBuffer> = new Uint8Array(MAX_REPORTS * QUOTE_SIZE);
  readonly #libc: UdpLibc;
  readonly #messages = new MessageArray(MAX_REPORTS, REPORT_CONTROL_SIZE);
  readonly #iovecs = new IovecArray(MAX_REPORTS, this.quotes);
  readonly #controlBytes: Uint8Array;

  constructor(libc: UdpLibc) {
    this.#libc = libc;
    this.names = new Int32Array(this.#messages.names.buffer);
    const { buffer } = this.#messages.controls;
    this.#controlBytes = new Uint8Array(buffer);
    this.offenders = new Int32Array(buffer as ArrayBuffer);
    for (let i = 0; i < MAX_REPORTS; i++) {
      this.#iovecs.set(i, i * QUOTE_SIZE, QUOTED_BYTES);
      this.#iovecs.attach(this.#messages.words, i, i, 1);
    }
  }

  /**
   * Takes the reports there are, a bounded number. Unless more are left, of which epoll tells again, the
   * socket then has no error pending: a pending one makes the next call on the socket fail, whatever that
   * call is.
   *
   * @returns how many.
   */
  drain(fd: number, handle: ErrorHandler): number {
    const { words, from } = this.#messages;
    let total = 0;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      for (let i = 0; i < MAX_REPORTS; i++) { // the kernel has overwritten them
        words[i * MMSGHDR_SIZE / 4 + NAME_LENGTH] = SOCKADDR_IN6_SIZE;
        words[i * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] = REPORT_CONTROL_SIZE;
      }
      const flags = MSG_ERRQUEUE | MSG_DONTWAIT;
      const count = this.#libc.symbols.recvmmsg(fd, from[0]!, MAX_REPORTS, flags, null);
      for (let i = 0; i < count; i++) this.#report(i, handle);
      total += Math.max(0, count);
      if (count < MAX_REPORTS) break;
    }
    return total;
  }

  #report(n: number, handle: ErrorHandler): void {
    const { words, controls } = this.#messages;
    const message = n * MMSGHDR_SIZE / 4;
    const length = words[message + CONTROL_LENGTH]!;
    const start = n * REPORT_CONTROL_SIZE / 4;
    for (let from = 0; from + CMSG_DATA * 4 < length;) {
      const control = start + from / 4;
      const level = controls[control + CMSG_LEVEL];
      const type = controls[control + CMSG_TYPE];
      const isReport = level === SOL_IP && type === IP_RECVERR ||
        level === SOL_IPV6 && type === IPV6_RECVERR;
      if (isReport) {
        const data = control + CMSG_DATA;
        handle(
          n * NAME_SIZE / 4,
          this.#controlBytes[data * 4 + EE_ORIGIN]!,
          this.#controlBytes[data * 4 + EE_TYPE]!,
          this.#controlBytes[data * 4 + EE_CODE]!,
          controls[data + EE_INFO]!,
          data + EE_OFFENDER,
          n * QUOTE_SIZE,
          words[message + MESSAGE_LENGTH]!,
        );
      }
      from += Math.max(CMSG_DATA * 4, cmsgAligned(controls[control]!));
    }
  }
}
