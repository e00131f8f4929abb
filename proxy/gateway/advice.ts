/**
 * Warnings about a configuration that is valid but makes a gateway do what its owner can hardly want.
 * For `check` and for the log at start.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";
import { adviseRules } from "./rule_advice.ts";
import type { GatewayConfig, LoadedConfig, ProxyConfig } from "../config/config.ts";
import { refusedAs } from "../config/refused_prefixes.ts";
import type { ConfigSource } from "../config/source.ts";

/** Adds its warnings to the source's. @returns all of them. */
export function advise({ config, source }: LoadedConfig): readonly string[] {
  advisePeers(config, source);
  if (config.proxy !== undefined) adviseSubnets(config, config.proxy, source);
  else if (!config.peerToPeer && !source.isClient) {
    const [subnets, forwarding] = [["proxy", "subnets"], ["interface", "peerToPeer"]].map((path) =>
      source.called(path, ["interface"])
    );
    source.warn(
      ["interface"],
      `neither [Proxy] with ${subnets} nor ${forwarding}: with \`up\` peers reach nothing but this gateway, ` +
        "expected one of them, or another command: up --tun or redirect (which a client's file is for, " +
        "as for wg-quick and the module), hub, agent; check takes --tun, and --as with the others",
    );
  }
  adviseLinks(config, source);
  adviseRules(config, source);
  return source.warnings();
}

function adviseLinks(
  { links, peers, peerToPeer, privateKey }: GatewayConfig,
  source: ConfigSource,
): void {
  links.forEach(({ prefixes, nat }, i) => {
    if (nat !== undefined && !peerToPeer) {
      const path = ["links", i, "nat"];
      const expected = source.assigned(["interface", "peerToPeer"], "true", path);
      source.warn(
        path,
        `is for what goes to peers and other links, and nothing does, expected ${expected}`,
      );
    }
    if (prefixes.length > 0 && !peerToPeer && peers.length + links.length > 1) {
      const path = ["links", i, "prefixes"];
      const expected = source.assigned(["interface", "peerToPeer"], "true", path);
      source.warn(
        path,
        `neither peers nor other links reach them, expected ${expected} if they are to`,
      );
    } else if (prefixes.length === 0 && privateKey !== undefined) {
      const name = source.called(["links", i, "prefixes"], ["links", i]);
      source.warn(
        ["links", i],
        `no ${name}: it may send from any address that is nowhere else, and nothing is routed to it`,
      );
    }
  });
}

function advisePeers(config: GatewayConfig, source: ConfigSource): void {
  const own = config.addresses.map(({ address }) => address);
  const isGateway = config.proxy !== undefined || config.peers.length > 1;
  config.peers.forEach(({ allowedIps }, i) => {
    if (allowedIps.length === 0) {
      const name = source.called(["peers", i, "allowedIps"], ["peers", i]);
      source.warn(
        ["peers", i],
        `no ${name}: nothing is accepted from this peer, expected its address in the tunnel`,
      );
    }
    allowedIps.forEach((prefix, j) => {
      const path = ["peers", i, "allowedIps", j];
      const mine = own.find((address) =>
        prefix.contains(address) && prefix.length === address.bytes.length * 8
      );
      if (mine !== undefined) {
        source.warn(path, `${prefix} is this gateway's own address, expected the peer's`);
      } else if (isGateway && prefix.length === 0) {
        source.warn(
          path,
          `${prefix} lets this peer use every address and takes those that no other peer has, ` +
            "expected the peer's own, such as 10.9.0.2/32 (this list is for the client's file)",
        );
      }
    });
  });
}

function adviseSubnets(config: GatewayConfig, proxy: ProxyConfig, source: ConfigSource): void {
  proxy.subnets.forEach((subnet, i) => {
    const path = ["proxy", "subnets", i];
    const isMapped = proxy.maps.some(({ from }) => meets(subnet, from)) ||
      config.rules.some(({ to, rewrite }) =>
        rewrite?.to !== undefined &&
        (to.length === 0 || to.some((one) => typeof one !== "string" && meets(subnet, one)))
      );
    const what = refusedAs(subnet);
    if (what !== undefined && !isMapped) {
      const hint = what === "loopback"
        ? `, expected another subnet and a ${source.called(["proxy", "map"], path)} to ${
          subnet.version === 4 ? "127.0.0.1" : "::1"
        } to reach this host`
        : ", expected another subnet";
      source.warn(
        path,
        `${subnet} is ${what}: targets there are refused whatever ${
          source.called(["proxy", "subnets"], path)
        } says${hint}`,
      );
    }
    const network = config.addresses.map(networkOf).find((network) => network.covers(subnet));
    if (network !== undefined && !isMapped) {
      source.warn(
        path,
        `${subnet} is in the tunnel's own network ${network}, where peers are and no targets, ` +
          "expected a network behind this gateway",
      );
    }
  });
}

function networkOf({ address, length }: { address: IpAddress; length: number }): Prefix {
  return new Prefix(address, length);
}

function meets(one: Prefix, other: Prefix): boolean {
  return one.covers(other) || other.covers(one);
}
