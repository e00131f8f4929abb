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
import type { PeerLimits } from "../config/checked.ts";
import { FlowOwner } from "../flow/flow.ts";
import type { OwnerLimits } from "../flow/limits.ts";
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
    nameServers: proxy?.resolver ?? [],
    defaultAction: proxy?.defaultAction ?? "allow",
    timeouts: proxy?.timeouts ?? DEFAULT_TIMEOUTS,
    limits: proxy?.limits ?? DEFAULT_LIMITS,
    udpFiltering: proxy?.udpFiltering ?? DEFAULT_UDP_FILTERING,
  };
}

export interface FlowOwners extends Pick<SubnetProxyOptions, "ownerOf" | "isHeld"> {
  ofPeer(peer: Peer): FlowOwner;
}

/** Finds whose a client's flows are, the peer that sent the packet, and whether its address still is. */
export function flowOwners(device: Device): FlowOwners {
  const owners = new WeakMap<Peer, FlowOwner>();
  const nobody = new FlowOwner(() => "nobody");
  const ofPeer = (peer: Peer) => {
    let owner = owners.get(peer);
    if (owner === undefined) {
      owner = new FlowOwner(() => peerName(peer));
      owners.set(peer, owner);
    }
    return owner;
  };
  const ownerOf = (from: unknown, { bytes, version }: IpAddress) => {
    const peer = from as Peer | undefined ?? device.peerAt(bytes, 0, version);
    return peer === undefined ? nobody : ofPeer(peer); // it was removed a moment ago
  };
  return { ofPeer, ownerOf, isHeld: (client, owner) => ownerOf(undefined, client) === owner };
}

/** A peer's limits as the proxy takes them. */
export function ownerLimits(limits: PeerLimits | undefined): OwnerLimits {
  if (limits === undefined) return {};
  const { rateUp, rateDown, rateBurstMs, maxTcpConnections, maxUdpSessions } = limits;
  const burst = rateBurstMs / 1000;
  return {
    up: rateUp === undefined ? undefined : { rate: rateUp, burst },
    down: rateDown === undefined ? undefined : { rate: rateDown, burst },
    maxTcpConnections,
    maxUdpSessions,
  };
}
