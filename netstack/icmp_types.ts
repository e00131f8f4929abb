/**
 * Types of ICMP and ICMPv6 messages, and what they report.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";

/** Type, code, checksum, and four bytes that depend on the type. */
export const ICMP_HEADER_LENGTH = 8;

// RFC 792
export const ECHO_REPLY = 0;
export const UNREACHABLE = 3;
export const ECHO_REQUEST = 8;
export const TIME_EXCEEDED = 11;
export const PARAMETER_PROBLEM = 12;
// RFC 4443
export const V6_UNREACHABLE = 1;
export const V6_TOO_BIG = 2;
export const V6_TIME_EXCEEDED = 3;
export const V6_PARAMETER_PROBLEM = 4;
export const V6_ECHO_REQUEST = 128;
export const V6_ECHO_REPLY = 129;
export const V6_REDIRECT = 137;

/** What ICMP reported about a packet we sent, the same for both versions. */
export type IcmpErrorKind =
  | "net-unreachable"
  | "host-unreachable"
  | "protocol-unreachable"
  | "port-unreachable"
  | "prohibited"
  | "too-big"
  | "time-exceeded"
  | "parameter-problem";

/** What an ICMP message reports; undefined if it is no error, or one that does not count. */
export function icmpErrorKind(
  version: IpVersion,
  type: number,
  code: number,
): IcmpErrorKind | undefined {
  return version === 4 ? ipv4ErrorKind(type, code) : ipv6ErrorKind(type, code);
}

/** RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1. Source Quench is ignored (RFC 6633). */
function ipv4ErrorKind(type: number, code: number): IcmpErrorKind | undefined {
  if (type === TIME_EXCEEDED) return "time-exceeded";
  if (type === PARAMETER_PROBLEM) return "parameter-problem";
  if (type !== UNREACHABLE) return undefined;
  switch (code) {
    case 0:
    case 6:
    case 11:
      return "net-unreachable";
    case 1:
    case 5:
    case 7:
    case 8:
    case 12:
      return "host-unreachable";
    case 2:
      return "protocol-unreachable";
    case 3:
      return "port-unreachable";
    case 4:
      return "too-big";
    case 9:
    case 10:
    case 13:
    case 14:
    case 15:
      return "prohibited";
    default:
      return undefined;
  }
}

/** RFC 4443 §3. */
function ipv6ErrorKind(type: number, code: number): IcmpErrorKind | undefined {
  if (type === V6_TOO_BIG) return "too-big";
  if (type === V6_TIME_EXCEEDED) return "time-exceeded";
  if (type === V6_PARAMETER_PROBLEM) {
    return code === 1 ? "protocol-unreachable" : "parameter-problem";
  }
  if (type !== V6_UNREACHABLE) return undefined;
  switch (code) {
    case 0:
      return "net-unreachable";
    case 2:
    case 3:
      return "host-unreachable";
    case 4:
      return "port-unreachable";
    case 1:
    case 5:
    case 6:
      return "prohibited";
    default:
      return undefined;
  }
}
