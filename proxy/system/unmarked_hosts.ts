/**
 * Where a gateway connects to by sockets that bear no mark.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { parseIpAddress, placeOfUrl } from "../address.ts";
import type { FallbackConfig } from "../config/checked.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { proxyFor } from "../gateway/proxy_environment.ts";

/**
 * Names and addresses of hubs, by whatever they are reached, of the list of peers, and of HTTP proxies on the
 * way: those of the configuration, and of peers that have come since.
 */
export function unmarkedHosts(config: HubsConfig, gateway?: RunningGateway): string[] {
  const fallbacks = [
    ...fallbacksOf(config),
    ...gateway === undefined ? [] : fallbacksOf(config, gateway),
  ];
  const endpoints = config.peers.flatMap(({ endpoint, otherEndpoints = [] }) =>
    endpoint === undefined ? [] : [endpoint, ...otherEndpoints]
  );
  const lists = listPlaces(config, gateway);
  return [
    ...[...endpoints, ...fallbacks, ...lists].map(({ hostname }) => hostname),
    ...[...fallbacks, ...lists].flatMap(httpProxy),
  ];
}

type HubsConfig = Pick<GatewayConfig, "peers" | "peerList">;
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
export function dialledPlaces(config: HubsConfig, gateway?: RunningGateway): DialledPlace[] {
  return [...fallbacksOf(config, gateway), ...listPlaces(config, gateway)].flatMap(dialledFor);
}

/**
 * Where a list of peers is read, if not from a file, as {@link dialledPlaces} has it. Without it there may be
 * no peers, or none where they are now: it cannot come through the tunnel. Of this host nothing is in the way.
 */
export function listPlaces(
  { peerList }: Pick<HubsConfig, "peerList">,
  gateway?: Pick<RunningGateway, "peerList">,
): DialledPlace[] {
  const list = gateway === undefined ? peerList : gateway.peerList.config;
  if (list === undefined || !("url" in list.place)) return [];
  const place = placeOfUrl(new URL(list.place.url), 443);
  const isOwn = place.hostname === "localhost" || parseIpAddress(place.hostname)?.isLoopback;
  return isOwn ? [] : [place];
}

/** Of all peers that there are: before the gateway runs, those of the configuration. */
function fallbacksOf(
  { peers }: Pick<HubsConfig, "peers">,
  gateway?: Pick<RunningGateway, "engine" | "peers">,
): readonly FallbackConfig[] {
  if (gateway === undefined) return peers.flatMap(({ fallbacks = [] }) => fallbacks);
  return [...gateway.engine.device.peers()].flatMap((peer) => gateway.peers.fallbacks(peer));
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
