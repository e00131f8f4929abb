/**
 * What the system says became of a datagram, as the stack names it.
 *
 * @module
 */

import { ErrorOrigin } from "../../ffi/mod.ts";
import { type IcmpErrorKind, icmpErrorKind } from "../../netstack/mod.ts";

/** @returns undefined for what this host itself found, or what is no error. */
export function reportKind(origin: number, type: number, code: number): IcmpErrorKind | undefined {
  if (origin === ErrorOrigin.ICMP) return icmpErrorKind(4, type, code);
  if (origin === ErrorOrigin.ICMPV6) return icmpErrorKind(6, type, code);
  return undefined;
}
