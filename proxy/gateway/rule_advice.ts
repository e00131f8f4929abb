/**
 * Warnings about rules that are well-formed and can hardly be meant: that nothing can match, that an
 * earlier one leaves nothing for, or that ask for what cannot be done with a packet to a peer.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import type { GatewayConfig, RuleConfig } from "../config/config.ts";
import { refusedAs } from "../config/refused_prefixes.ts";
import type { ConfigSource } from "../config/source.ts";
import { isSingle } from "../flow/maps.ts";
import { PrefixList } from "./prefix_list.ts";
import { Shadows } from "./rule_shadows.ts";

export function adviseRules(config: GatewayConfig, source: ConfigSource): void {
  const { rules } = config;
  if (rules.length === 0) return;
  if (config.proxy === undefined && !config.peerToPeer && !source.isClient) {
    const forwarding = source.called(["interface", "peerToPeer"], ["rules", 0]);
    source.warn(["rules", 0], `there is nothing to rule over, expected [Proxy] or ${forwarding}`);
    return;
  }
  const world = new World(config);
  const shadows = new Shadows(world.byName);
  rules.forEach((rule, i) => {
    const isPossible = adviseMatch(rule, i, world, source);
    advisePeerToPeer(rule, i, world, source);
    adviseRewrite(rule, i, source);
    const earlier = isPossible ? shadows.add(rule, i) : undefined;
    if (earlier !== undefined) {
      source.warn(
        ["rules", i],
        `decides nothing: an earlier rule matches all that it does, expected it before that one ` +
          `(at ${source.place(["rules", earlier])})`,
      );
    }
  });
}

/** What peers have, and what they can ask for. */
class World {
  readonly clients: PrefixList;
  /** What ends at this gateway. */
  readonly proxied: PrefixList;
  /** Everything that can be asked for. */
  readonly reachable: PrefixList;
  /** Of the peers with a name, in small letters. */
  readonly byName: ReadonlyMap<string, readonly Prefix[]>;
  readonly protocols: ReadonlySet<string>;
  readonly peerToPeer: boolean;

  constructor({ peers, proxy, peerToPeer }: GatewayConfig) {
    const allowed = peers.flatMap(({ allowedIps }) => allowedIps);
    const subnets = proxy?.interface === "nic1" && proxy.subnets.length === 0
      ? undefined
      : proxy?.subnets ?? [];
    this.peerToPeer = peerToPeer;
    this.clients = new PrefixList(allowed);
    this.proxied = new PrefixList(subnets);
    this.reachable = peerToPeer && subnets !== undefined
      ? new PrefixList([...subnets, ...allowed])
      : this.proxied;
    this.byName = new Map(
      peers.flatMap(({ name, allowedIps }) => name ? [[name.toLowerCase(), allowedIps]] : []),
    );
    const isAll = peerToPeer || proxy === undefined;
    this.protocols = new Set(
      (["tcp", "udp", "icmp"] as const).filter((protocol) => isAll || proxy[protocol]),
    );
  }
}

/** @returns whether something can match. */
function adviseMatch(rule: RuleConfig, i: number, world: World, source: ConfigSource): boolean {
  const dead = { from: 0, to: 0, ports: 0 };
  rule.from.forEach((from, j) => {
    if (typeof from === "string" || world.clients.overlaps(from)) return;
    dead.from++;
    source.warn(["rules", i, "from", j], `${from} is in no peer's AllowedIPs: nobody has it`);
  });
  rule.to.forEach((to, j) => {
    const path = ["rules", i, "to", j];
    if (typeof to === "string") {
      if (!world.byName.has(to)) return;
      source.warn(path, `${to} is looked up as a host's name; a peer stands here by its address`);
    } else if (!source.isClient && !world.reachable.overlaps(to)) {
      dead.to++;
      const subnets = source.called(["proxy", "subnets"], path);
      const where = world.peerToPeer ? `neither in ${subnets} nor a peer's` : `not in ${subnets}`;
      source.warn(path, `${to} is ${where}: nobody gets to ask for it`);
    }
  });
  rule.ports.forEach((ports, j) => {
    if (world.protocols.has(ports.protocol)) return;
    dead.ports++;
    const path = ["rules", i, "ports", j];
    const protocols = source.called(["proxy", "protocols"], path);
    source.warn(path, `${ports.protocol} is not in ${protocols}`);
  });
  const isDead = (field: keyof typeof dead) =>
    rule[field].length > 0 && dead[field] === rule[field].length;
  return !isDead("from") && !isDead("to") && !isDead("ports");
}

/** Between peers packets pass through: nothing ends here that could be dialled elsewhere. */
function advisePeerToPeer(rule: RuleConfig, i: number, world: World, source: ConfigSource): void {
  if (!world.peerToPeer) return;
  const prefixes = rule.to.filter((to) => typeof to !== "string");
  const isOfPeers = rule.to.length === 0 ||
    prefixes.some((to) => world.clients.overlaps(to) && !world.proxied.covers(to));
  if (!isOfPeers) return;
  if (rule.rewrite !== undefined) {
    const path = ["rules", i, "rewrite"];
    const [to, subnets] = [["rules", i, "to"], ["proxy", "subnets"]].map((other) =>
      source.called(other, path)
    );
    source.warn(
      path,
      "needs a connection that ends at this gateway: what a peer sends to another and this rule " +
        `matches is rejected, expected a ${to} inside ${subnets}`,
    );
  }
  const isGiven = {
    sendProxyProtocol: rule.sendProxyProtocol !== undefined,
    warmConnections: rule.warmConnections > 0,
  };
  for (const key of ["sendProxyProtocol", "warmConnections"] as const) {
    if (!isGiven[key]) continue;
    source.warn(
      ["rules", i, key],
      "needs a connection that ends at this gateway: no effect on what a peer sends to another",
    );
  }
}

function adviseRewrite({ to, rewrite }: RuleConfig, i: number, source: ConfigSource): void {
  const target = rewrite?.to;
  if (target === undefined) return;
  if (typeof target === "string") {
    if (!/(^|\.)localhost\.?$/i.test(target)) return; // RFC 6761 §6.3: that is loopback
    source.warn(
      ["rules", i, "rewrite"],
      `no name leads to this host itself: what this rule matches is refused, expected its address, ` +
        "as 127.0.0.1",
    );
    return;
  }
  if (isSingle(target)) return;
  const what = refusedAs(target);
  if (what !== undefined) {
    const path = ["rules", i, "rewrite"];
    const map = what === "loopback" ? `, or a ${source.called(["proxy", "map"], path)} to it` : "";
    source.warn(
      path,
      `${target} is ${what}: what this rule matches is refused, expected a single address${map}`,
    );
    return;
  }
  const hostBits = (prefix: Prefix) => prefix.address.bytes.length * 8 - prefix.length;
  const wide = to.find((one) => typeof one !== "string" && hostBits(one) > hostBits(target));
  if (wide === undefined) return;
  source.warn(["rules", i, "rewrite"], `${target} is smaller than ${wide}: several lead to one`);
}
