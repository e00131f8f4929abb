/**
 * Addresses as sockets of both families have them.
 *
 * @module
 */

import { IpAddress } from "../../../netstack/mod.ts";
import { ipAt } from "../../target/address.ts";

/** The IP address of a socket address; one of IPv4 in a socket of both families is IPv4's. */
export function plainIpAt(words: Int32Array, at: number): IpAddress | undefined {
  const address = ipAt(words, at);
  return address && plainIp(address);
}

/** IPv4's, if it is one of IPv4 that is written as one of IPv6 (RFC 4291 §2.5.5.2). */
export function plainIp(address: IpAddress): IpAddress {
  const { bytes, version } = address;
  const isMapped = version === 6 && bytes[10] === 0xff && bytes[11] === 0xff &&
    bytes.subarray(0, 10).every((byte) => byte === 0);
  return isMapped ? new IpAddress(bytes.slice(12)) : address;
}
