/**
 * Names of peers' endpoints into addresses.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";

/** All the addresses of a name, the preferred first; one for short. Rejects if it has none. */
export type Resolve = (hostname: string) => Promise<IpAddress | readonly IpAddress[]>;

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
