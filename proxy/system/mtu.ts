/**
 * The MTU of a tunnel, from the routes to its endpoints.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { SystemTunnelError } from "./error.ts";

/** IP, UDP (8 bytes), and WireGuard's header and tag (32). */
const OVERHEAD = { 4: 20 + 8 + 32, 6: 40 + 8 + 32 } as const;
/** Without any route. */
const ETHERNET = 1500;
/** RFC 8200 §5. */
const MIN_IPV6 = 1280;
/** RFC 791 §3.1. */
const MIN_IPV4 = 576;

export interface MtuQuestion {
  /** As configured. */
  readonly mtu?: number;
  /** Addresses of peers' endpoints. */
  readonly endpoints: readonly IpAddress[];
  /** Whether an own address, or a peer's prefix, is of IPv6. */
  readonly hasIpv6: boolean;
  /** Of the route to an address, bytes; undefined if there is none, or it is loopback. */
  routeMtu(address: IpAddress): number | undefined;
  /** Of the default route. */
  defaultMtu(): number | undefined;
}

/**
 * The configured one, or what fits on the way to every endpoint.
 *
 * @throws {SystemTunnelError} if that is too small.
 */
export function tunnelMtu(question: MtuQuestion): number {
  const { mtu, endpoints, hasIpv6 } = question;
  if (mtu !== undefined) return mtu; // It has been looked at with the rest of the configuration.
  const found = endpoints.flatMap((endpoint) => {
    const outer = question.routeMtu(endpoint);
    return outer === undefined
      ? []
      : [{ endpoint, outer, inner: outer - OVERHEAD[endpoint.version] }];
  });
  const narrowest = found.toSorted((a, b) => a.inner - b.inner)[0];
  const outer = narrowest?.outer ?? question.defaultMtu() ?? ETHERNET;
  const inner = narrowest?.inner ?? outer - OVERHEAD[6];
  const least = hasIpv6 ? MIN_IPV6 : MIN_IPV4;
  if (inner >= least) return inner;
  const way = narrowest === undefined ? "the default route" : `the route to ${narrowest.endpoint}`;
  throw new SystemTunnelError(
    hasIpv6
      ? `MTU: ${inner} bytes are left of ${way} (${outer}), too few for IPv6 (${MIN_IPV6}), expected ` +
        "addresses of IPv4 alone in Address and AllowedIPs, or an MTU to be set"
      : `MTU: ${inner} bytes are left of ${way} (${outer}), expected ${MIN_IPV4} or more, or an MTU to be set`,
  );
}
