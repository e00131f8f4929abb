/**
 * Names into addresses, as the rest of the system does it.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";

/** All the addresses of a name, the preferred first; one for short. Rejects if it has none. */
export type Resolve = (hostname: string) => Promise<IpAddress | readonly IpAddress[]>;

/** Hosts file, then DNS, in the system's own order (RFC 6724). */
export async function resolveBySystem(hostname: string): Promise<readonly IpAddress[]> {
  const found = await lookup(hostname, { all: true, order: "verbatim" });
  const addresses = found.flatMap(({ address }) => {
    const ip = parseIpAddress(address.replace(/%.*/, ""));
    return ip === undefined ? [] : [ip.unmapped()];
  });
  if (addresses.length === 0) throw new Error("the system gave no address");
  return addresses;
}

/**
 * RFC 8305 §4: families in turn, beginning with that of the first, so that one that is dead costs one
 * attempt and not one for each of its addresses. None comes twice.
 */
export function alternateFamilies(addresses: readonly IpAddress[]): IpAddress[] {
  const unique = [...new Map(addresses.map((address) => [`${address}`, address])).values()];
  const version = unique[0]?.version;
  const same = unique.filter((address) => address.version === version);
  const other = unique.filter((address) => address.version !== version);
  return Array.from({ length: Math.max(same.length, other.length) }, (_, i) => [same[i], other[i]])
    .flat().filter((address) => address !== undefined);
}
