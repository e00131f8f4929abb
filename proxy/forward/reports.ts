/**
 * What the network beyond says about a client's packets, as the client is told it.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Flow } from "../flow/flow.ts";

/** By how much an IPv6 header is longer than one of IPv4. */
const IPV6_HEADER_EXTRA = 20;

/**
 * The address that a report seems to come from to the client. The target's becomes the destination that
 * the client asked for, a router's stays, and this host's becomes the gateway's.
 *
 * @param offender Who reports; undefined: this host.
 * @returns undefined for this gateway.
 */
export function reporterOf(
  offender: IpAddress | undefined,
  { dialled, destination }: Flow,
  owner: { isOwnHost(address: IpAddress): boolean },
): IpAddress | undefined {
  if (offender === undefined) return undefined;
  if (dialled !== undefined && offender.equals(dialled)) return destination;
  return owner.isOwnHost(offender) ? undefined : offender;
}

/**
 * A path MTU beyond this host, as one for the client's packets: where a map leads from one IP version to
 * the other the header grows or shrinks (RFC 7915 §4.2, §5.2).
 */
export function asSeenBySource(mtu: number, { dialled, destination }: Flow): number {
  if (dialled!.version < destination.version) return mtu + IPV6_HEADER_EXTRA;
  return dialled!.version > destination.version ? mtu - IPV6_HEADER_EXTRA : mtu;
}
