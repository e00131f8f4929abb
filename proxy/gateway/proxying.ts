/**
 * What the proxy is given: its settings, from the configuration, and whose flows are whose, from
 * WireGuard.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Device, Peer } from "../../wireguard/mod.ts";
import type { GatewayConfig } from "../config/config.ts";
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, DEFAULT_UDP_FILTERING } from "../config/defaults.ts";
import { FlowOwner } from "../flow/flow.ts";
import type { ForwardSettings } from "../forward/options.ts";
import type { SubnetProxyOptions } from "../forward/subnet_proxy.ts";
import { peerName } from "./peer_name.ts";

/** What the proxy runs on, also where the configuration has none: it may be switched on later. */
export function proxySettings(
  { proxy, rules }: Pick<GatewayConfig, "proxy" | "rules">,
): ForwardSettings {
  return {
    maps: proxy?.maps ?? [],
    rules,
    defaultAction: proxy?.defaultAction ?? "allow",
    timeouts: proxy?.timeouts ?? DEFAULT_TIMEOUTS,
    limits: proxy?.limits ?? DEFAULT_LIMITS,
    udpFiltering: proxy?.udpFiltering ?? DEFAULT_UDP_FILTERING,
  };
}

/** Finds whose a client's flows are, the peer that sent the packet, and whether its address still is. */
export function flowOwners(device: Device): Pick<SubnetProxyOptions, "ownerOf" | "isHeld"> {
  const owners = new WeakMap<Peer, FlowOwner>();
  const nobody = new FlowOwner(() => "nobody");
  const ownerOf = (from: unknown, { bytes, version }: IpAddress) => {
    const peer = from as Peer | undefined ?? device.peerAt(bytes, 0, version);
    if (peer === undefined) return nobody; // it was removed a moment ago
    let owner = owners.get(peer);
    if (owner === undefined) {
      owner = new FlowOwner(() => peerName(peer));
      owners.set(peer, owner);
    }
    return owner;
  };
  return { ownerOf, isHeld: (client, owner) => ownerOf(undefined, client) === owner };
}
