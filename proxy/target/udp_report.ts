/**
 * What the system says became of a datagram, as the stack names it.
 *
 * @module
 */

import { Errno, ErrorOrigin } from "../../ffi/mod.ts";
import { type IcmpErrorKind, icmpErrorKind } from "../../netstack/mod.ts";

/** @returns undefined for what this host itself found, or what is no error. */
export function reportKind(origin: number, type: number, code: number): IcmpErrorKind | undefined {
  if (origin === ErrorOrigin.ICMP) return icmpErrorKind(4, type, code);
  if (origin === ErrorOrigin.ICMPV6) return icmpErrorKind(6, type, code);
  return undefined;
}

/** Why a datagram was not sent; undefined for what a client has nothing of. */
export function refusalKind(errno: number): IcmpErrorKind | undefined {
  switch (errno) {
    case Errno.ENETUNREACH:
      return "net-unreachable";
    case Errno.EHOSTUNREACH:
      return "host-unreachable";
    case Errno.EACCES: // a route that prohibits
    case Errno.EPERM: // a packet filter that does
      return "prohibited";
    default:
      return undefined;
  }
}
