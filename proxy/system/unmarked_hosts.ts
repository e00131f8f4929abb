/**
 * Where a gateway connects to by sockets that bear no mark.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { parseIpAddress, placeOfUrl } from "../address.ts";
import type { PeerListConfig } from "../config/checked.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { proxyFor } from "../gateway/proxy_environment.ts";

/**
 * Names and addresses of hubs, by whatever they are reached, of the list of peers, and of HTTP proxies on the
 * way: those of the configuration, and of peers that have come since.
 */
export function unmarkedHosts(
  { peers, peerList }: Pick<GatewayConfig, "peers" | "peerList">,
  gateway?: RunningGateway,
): string[] {
  const present = [...gateway?.engine.device.peers() ?? []];
  const fallbacks = [
    ...peers.flatMap(({ fallbacks = [] }) => fallbacks),
    ...present.flatMap((peer) => gateway!.peers.fallbacks(peer)),
  ];
  const endpoints = peers.flatMap(({ endpoint, otherEndpoints = [] }) =>
    endpoint === undefined ? [] : [endpoint, ...otherEndpoints]
  );
  const lists = listPlaces(gateway === undefined ? peerList : gateway.peerList.config);
  return [
    ...[...endpoints, ...fallbacks, ...lists].map(({ hostname }) => hostname),
    ...[...fallbacks, ...lists].flatMap(httpProxy),
  ];
}

type RunningGateway = Pick<Gateway, "engine" | "peers" | "peerList">;

/** A name or an address, and a port of TCP. */
export interface DialledPlace {
  readonly hostname: string;
  readonly port: number;
}

/** What is connected to for a fallback: the hub, or the HTTP proxy on the way. */
export function dialledFor({ hostname, port }: DialledPlace): DialledPlace[] {
  try {
    const proxy = proxyFor(hostname, port);
    return [proxy === undefined ? { hostname, port } : { hostname: proxy.host, port: proxy.port }];
  } catch {
    return []; // which is told by who calls through it
  }
}

/**
 * The same of all peers that there are, and of the list of peers: before the gateway runs, those of the
 * configuration.
 */
export function dialledPlaces(
  { peers, peerList }: Pick<GatewayConfig, "peers" | "peerList">,
  gateway?: RunningGateway,
): DialledPlace[] {
  if (gateway === undefined) {
    const fallbacks = peers.flatMap(({ fallbacks = [] }) => fallbacks);
    return [...fallbacks, ...listPlaces(peerList)].flatMap(dialledFor);
  }
  const fallbacks = [...gateway.engine.device.peers()].flatMap((peer) =>
    gateway.peers.fallbacks(peer)
  );
  return [...fallbacks, ...listPlaces(gateway.peerList.config)].flatMap(dialledFor);
}

/**
 * Where a list of peers is read, if not from a file. Without it there may be no peers, or none where they are
 * now: it cannot come through the tunnel. Of this host nothing is in the way.
 */
export function listPlaces(list: PeerListConfig | undefined): DialledPlace[] {
  if (list === undefined || !("url" in list.place)) return [];
  const place = placeOfUrl(new URL(list.place.url), 443);
  const isOwn = place.hostname === "localhost" || parseIpAddress(place.hostname)?.isLoopback;
  return isOwn ? [] : [place];
}

/** Targets behind a gateway itself: it dials them as any program does. */
export function proxiedTargets({ proxy, rules }: Pick<GatewayConfig, "proxy" | "rules">): Prefix[] {
  const rewritten = rules.flatMap(({ rewrite }) =>
    rewrite?.to === undefined || typeof rewrite.to === "string" ? [] : [rewrite.to]
  );
  return [...proxy?.subnets ?? [], ...(proxy?.maps ?? []).map(({ to }) => to), ...rewritten];
}

function httpProxy(place: DialledPlace): string[] {
  return dialledFor(place).map(({ hostname }) => hostname)
    .filter((hostname) => hostname !== place.hostname);
}
