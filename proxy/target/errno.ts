/**
 * The system's error codes as dial errors and as ICMP errors.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import type { IcmpErrorKind } from "../../netstack/mod.ts";
import type { DialError } from "../flow/stream.ts";

/** Why a dial failed, by the system's code. */
export function dialErrorOf(code: string | undefined): DialError {
  if (isOutOfDescriptors(code)) return "exhausted";
  return DIAL_ERRORS[code ?? ""] ?? "failed";
}

/** Whether there are no descriptors left, for this process or for the system. */
export function isOutOfDescriptors(code: string | undefined): boolean {
  return code === "EMFILE" || code === "ENFILE";
}

/** The ICMP error for a datagram that was not sent; undefined if the client need not know. */
export function icmpErrorOf(errno: number): IcmpErrorKind | undefined {
  return ICMP_ERRORS.get(errno);
}

const DIAL_ERRORS: Readonly<Record<string, DialError>> = {
  ECONNREFUSED: "refused",
  ECONNRESET: "refused",
  ETIMEDOUT: "timeout",
  EHOSTUNREACH: "host",
  EHOSTDOWN: "host",
  ENETUNREACH: "net",
  ENETDOWN: "net",
  EAFNOSUPPORT: "net",
  EADDRNOTAVAIL: "net",
  EACCES: "prohibited",
  EPERM: "prohibited",
};

const ICMP_ERRORS = new Map<number, IcmpErrorKind>([
  [Errno.ENETUNREACH, "net-unreachable"],
  [Errno.EHOSTUNREACH, "host-unreachable"],
  [Errno.EACCES, "prohibited"], // a route that prohibits
  [Errno.EPERM, "prohibited"], // a packet filter that does
]);
