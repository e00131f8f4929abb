/**
 * What the proxy is given: its settings, from the configuration, and whose flows are whose, from
 * WireGuard.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "../../netstack/mod.ts";
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

export interface FlowOwners
  extends Pick<SubnetProxyOptions, "ownerOf" | "ownerFrom" | "ownerAt" | "isHeld"> {
  ofPeer(peer: Peer): FlowOwner;
}

/** Whose the addresses behind links are. */
export interface LinkOwners {
  ownerAt(buffer: Uint8Array, offset: number, version: IpVersion): FlowOwner | undefined;
  /** Undefined for an owner that is no link's. */
  holds(client: IpAddress, owner: FlowOwner): boolean | undefined;
}

/**
 * Finds whose a client's flows are, the peer or link that sent the packet, and whether its address
 * still is.
 *
 * @param rest Whose all other addresses are. Default: nobody's.
 */
export function flowOwners(
  device: Device,
  links?: LinkOwners,
  rest: FlowOwner = new FlowOwner(() => "nobody"),
): FlowOwners {
  const owners = new WeakMap<Peer, FlowOwner>();
  const peers = new WeakMap<FlowOwner, Peer>();
  const ofPeer = (peer: Peer) => {
    let owner = owners.get(peer);
    if (owner === undefined) {
      owner = new FlowOwner(() => peerName(peer));
      owners.set(peer, owner);
      peers.set(owner, peer);
    }
    return owner;
  };
  // A peer may have been removed a moment ago. What a packet link brings comes from its owner.
  const ownerFrom = (from: unknown) => {
    if (from === undefined) return rest;
    return from instanceof FlowOwner ? from : ofPeer(from as Peer);
  };
  const ownerAt = (buffer: Uint8Array, offset: number, version: IpVersion) =>
    links?.ownerAt(buffer, offset, version) ?? ownerFrom(device.peerAt(buffer, offset, version));
  return {
    ofPeer,
    ownerFrom,
    ownerAt,
    ownerOf: (from, { bytes, version }) =>
      from === undefined ? ownerAt(bytes, 0, version) : ownerFrom(from),
    isHeld(client, owner) {
      const { bytes, version } = client;
      const held = links?.holds(client, owner) ?? ownerAt(bytes, 0, version) === owner;
      const peer = held ? undefined : peers.get(owner);
      return held || peer !== undefined && device.speaksFor(peer, bytes, 0, version);
    },
  };
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
