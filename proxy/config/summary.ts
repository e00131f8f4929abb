/**
 * A configuration in one line, for `check` and for the log. No secrets.
 *
 * @module
 */

import type { GatewayConfig, ProxyConfig } from "./checked.ts";
import { summarizeShared } from "./check_shared.ts";
import { formatPlace } from "./link_values.ts";
import { formatRelayListen } from "./relay_values.ts";
import { encodeKey, publicKeyOf } from "../base64.ts";

export function summarize(config: GatewayConfig): string {
  const addresses = config.addresses.map(({ address, length }) => `${address}/${length}`);
  return [
    config.privateKey === undefined
      ? "no WireGuard"
      : `public key ${encodeKey(publicKeyOf(config.privateKey))}`,
    addresses.length === 0 ? "no address" : `address ${addresses.join(", ")}`,
    ...(config.privateKey === undefined ? [] : [
      config.listenPort ? `UDP port ${config.listenPort}` : "any UDP port",
      config.peers.length === 1 ? "1 peer" : `${config.peers.length} peers`,
    ]),
    ...config.links.map(({ name, place }) => `link ${name} ${formatPlace(place)}`),
    ...(config.relay?.listen ?? []).map((place) => `relay ${formatRelayListen(place)}`),
    config.proxy ? summarizeProxy(config.proxy) : "no proxy",
    ...summarizeRules(config),
    ...summarizeShared(config),
  ].join("; ");
}

/** Nothing where nothing is decided. */
function summarizeRules({ rules, proxy }: GatewayConfig): string[] {
  const otherwise = proxy?.defaultAction ?? "allow";
  if (rules.length === 0 && otherwise === "allow") return [];
  return [`${rules.length === 1 ? "1 rule" : `${rules.length} rules`}, else ${otherwise}`];
}

export function summarizeProxy(proxy: ProxyConfig): string {
  const protocols = (["tcp", "udp", "icmp"] as const).filter((protocol) => proxy[protocol]);
  const subnets = proxy.subnets.length === 0 ? "no subnets" : proxy.subnets.join(", ");
  const maps = proxy.maps.length === 0 ? "" : `, ${proxy.maps.length} mapped`;
  return `proxy ${
    protocols.join(", ").replace(/, (?=\w+$)/, " and ")
  } on ${proxy.interface} for ${subnets}${maps}`;
}
