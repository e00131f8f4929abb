/**
 * From values as written to a configuration: the schema section by section, then the rules that
 * bind values to each other.
 *
 * @module
 */

import type {
  CaptureConfig,
  DeviceConfig,
  GatewayConfig,
  LogConfig,
  MapConfig,
  PeerConfig,
  ProxyConfig,
  RuleConfig,
  StatusConfig,
} from "./checked.ts";
import { DEFAULT_RATE_BURST_MS } from "./defaults.ts";
import type { ConfigPath } from "./error.ts";
import { checkFields, type Fields, type ValuesOf } from "./fields.ts";
import { findField, KEYS } from "./keys.ts";
import {
  captureFields,
  type CaptureValues,
  interfaceFields,
  type InterfaceValues,
  keylessInterfaceFields,
  linkFields,
  type LinkValues,
  logFields,
  type LogValues,
  peerFields,
  type PeerValues,
  proxyFields,
  type ProxyValues,
  relayFields,
  ruleFields,
  type RuleValues,
  statusFields,
  type StatusValues,
} from "./schema.ts";
import { refusedAs } from "./refused_prefixes.ts";
import type { ConfigSource } from "./source.ts";
import { suggest } from "./suggest.ts";
import { checkLinks, linkConfig } from "./check_links.ts";
import { checkFallbacks, checkRelay, fallbackConfigs, relayConfig } from "./check_relay.ts";
import { checkPeerList, peerListConfig } from "./check_peer_list.ts";
import { checkShared, isCalled } from "./check_shared.ts";
import { checkRules } from "./check_rules.ts";
import { parseIpAddress } from "../address.ts";
import { encodeKey, publicKeyOf } from "../base64.ts";

/**
 * Checks everything there is to check; problems and warnings are kept in the source.
 *
 * @returns undefined if there are problems, older ones of the source included.
 */
export function validateConfig(source: ConfigSource): GatewayConfig | undefined {
  const iface = validateSection(
    source,
    ["interface"],
    isKeyless(source) ? keylessInterfaceFields : interfaceFields,
    source.interface ?? {},
  );
  const peers = validatePeers(source);
  const rules = validateRules(source);
  const links = validateLinks(source);
  const proxy = source.proxy === undefined
    ? undefined
    : validateSection(source, ["proxy"], proxyFields, source.proxy);
  const relay = source.relay === undefined
    ? undefined
    : validateSection(source, ["relay"], relayFields, source.relay);
  const status = source.status === undefined
    ? undefined
    : validateSection(source, ["status"], statusFields, source.status);
  const capture = source.capture === undefined
    ? undefined
    : validateSection(source, ["capture"], captureFields, source.capture);
  const log = validateSection(source, ["log"], logFields, source.log ?? {});
  if (iface !== undefined) checkInterface(source, iface);
  checkPeers(source, iface, peers);
  if (iface?.peerToPeer) checkShared(source, iface, peers);
  if (proxy !== undefined) checkProxy(source, proxy);
  checkRules(source, rules, [...named(peers, source.peers), ...named(links, source.links)]);
  checkLinks(source, links, peers, proxy, iface);
  checkFallbacks(source, peers);
  if (relay !== undefined) checkRelay(source, relay, iface);
  if (status !== undefined) checkStatus(source, status);
  if (capture !== undefined) checkCapture(source, capture, log);
  if (iface === undefined || log === undefined || source.problems().length > 0) return undefined;
  return {
    ...(iface.privateKey && { privateKey: iface.privateKey }),
    addresses: iface.address,
    addressPool: iface.addressPool,
    ...(iface.listenPort !== undefined && { listenPort: iface.listenPort }),
    ...(iface.listenAddress !== undefined && { listenAddress: iface.listenAddress }),
    ...(iface.fwMark && { fwMark: iface.fwMark }),
    mtu: iface.mtu,
    device: deviceConfig(source, iface),
    peers: peers.filter((peer) => peer !== undefined).map(peerConfig),
    rules: rules.filter((rule) => rule !== undefined).map(ruleConfig),
    links: links.filter((link) => link !== undefined).map(linkConfig),
    ...(proxy && { proxy: proxyConfig(proxy) }),
    peerToPeer: iface.peerToPeer,
    ...peerListConfig(iface),
    ...(iface.controlDir !== undefined && { controlDir: iface.controlDir }),
    ...(iface.rekeyAfter !== undefined && { rekeyAfterMs: iface.rekeyAfter }),
    ...(relay && { relay: relayConfig(relay) }),
    ...(status && { status: statusConfig(status) }),
    ...(capture && { capture: captureConfig(capture) }),
    log: logConfig(log),
  };
}

function validateSection<F extends Fields>(
  source: ConfigSource,
  path: ConfigPath,
  fields: F,
  values: unknown,
): ValuesOf<F> | undefined {
  return checkFields(
    fields,
    values,
    (message, inside) => source.problem([...path, ...inside], message),
    (key) => source.problem([...path, key], unknownField(path, key)),
  );
}

function unknownField(path: ConfigPath, field: string): string {
  const fields = KEYS.filter((key) => key.section === path[0]).map((key) => key.field);
  const near = suggest(field, fields);
  return near ? `unknown key, did you mean ${near}?` : `unknown key, expected ${fields.join(", ")}`;
}

/** Checks a peer as the first of the source's. @returns undefined if there are problems. */
export function validatePeer(source: ConfigSource, input: unknown): PeerConfig | undefined {
  const peer = validateSection(source, ["peers", 0], peerFields, input);
  checkFallbacks(source, [peer]);
  return peer && source.problems().length === 0 ? peerConfig(peer) : undefined;
}

/** @returns one entry for each peer, undefined where it has problems. */
function validatePeers(source: ConfigSource): (PeerValues | undefined)[] {
  const peers = source.peers ?? [];
  if (!Array.isArray(peers)) {
    source.problem(["peers"], "is not a list, expected an array of peers");
    return [];
  }
  return peers.map((peer, i) => validateSection(source, ["peers", i], peerFields, peer));
}

/** The rules in order, undefined in the places of those that are malformed. */
function validateRules(source: ConfigSource): (RuleValues | undefined)[] {
  const rules = source.rules ?? [];
  if (!Array.isArray(rules)) {
    source.problem(["rules"], "is not a list, expected an array of rules");
    return [];
  }
  return rules.map((rule, i) => validateSection(source, ["rules", i], ruleFields, rule));
}

/** The same of links. */
function validateLinks(source: ConfigSource): (LinkValues | undefined)[] {
  const links = source.links ?? [];
  if (!Array.isArray(links)) {
    source.problem(["links"], "is not a list, expected an array of links");
    return [];
  }
  return links.map((link, i) => validateSection(source, ["links", i], linkFields, link));
}

/** Peers, or links, with a name: for rules there are also those in which something else is wrong. */
function named<T extends { readonly name?: string | undefined }>(
  checked: readonly (T | undefined)[],
  written: unknown,
): ({ readonly name?: string | undefined } | undefined)[] {
  return checked.map((one, i) => {
    const name = one?.name ?? Object((written as readonly unknown[])[i]).name;
    // As text is read: in YAML and JSON a name may be a number, or true.
    const isText = ["string", "number", "boolean"].includes(typeof name);
    return isText ? { name: String(name).trim() } : undefined;
  });
}

/** What is WireGuard's own: with one of them there is a key to be had. */
const OF_WIREGUARD = ["privateKey", "listenPort", "listenAddress", "fwMark", "rekeyAfter"];

/** Whether there are links, and nothing of WireGuard. */
function isKeyless(source: ConfigSource): boolean {
  const isEmpty = (list: unknown) => !Array.isArray(list) || list.length === 0;
  const given = Object(source.interface ?? {});
  return (source.hasLinks || !isEmpty(source.links)) && isEmpty(source.peers) &&
    OF_WIREGUARD.every((field) => given[field] === undefined);
}

function checkInterface(source: ConfigSource, iface: InterfaceValues): void {
  checkPeerList(source, iface);
  const given = Object(source.interface);
  for (const [field, value] of Object.entries(iface)) {
    const inert = findField("interface", field)?.inert;
    if (!inert || value === undefined || Array.isArray(value) && value.length === 0) continue;
    if (inert === "app") {
      source.warn(["interface", field], "has no effect: it is for WireGuard's app on a phone");
    } else if (!source.hasDevice && Object.hasOwn(given, field)) {
      source.warn(["interface", field], "has no effect without --tun");
    }
  }
  const hasIpv6 = iface.address.some(({ address }) => address.version === 6);
  if (hasIpv6 && iface.mtu < 1280) { // RFC 8200 §5
    source.problem(
      ["interface", "mtu"],
      `${iface.mtu} is too small for IPv6, expected 1280 or more`,
    );
  }
}

function checkPeers(
  source: ConfigSource,
  iface: InterfaceValues | undefined,
  peers: readonly (PeerValues | undefined)[],
): void {
  const own = iface?.privateKey && encodeKey(publicKeyOf(iface.privateKey));
  const byKey = new Map<string, number>();
  const byName = new Map<string, number>();
  const byPrefix = new Map<string, ConfigPath>();
  const takeTurns = (one: PeerValues, other: PeerValues) =>
    iface?.peerToPeer || isCalled(one) && isCalled(other);
  peers.forEach((peer, i) => {
    if (peer === undefined) return;
    const path = ["peers", i, "publicKey"];
    const text = encodeKey(peer.publicKey);
    const first = byKey.get(text);
    if (text === own) {
      source.problem(path, "is this gateway's own key, expected another one");
    } else if (first !== undefined) {
      const where = source.place(["peers", first, "publicKey"]);
      source.problem(path, `given twice, expected a peer once (the first is at ${where})`);
    }
    byKey.set(text, first ?? i);
    if (peer.endpoint.length > MAX_ENDPOINTS) {
      source.problem(
        ["peers", i, "endpoint", MAX_ENDPOINTS],
        `${peer.endpoint.length} endpoints are too many, expected ${MAX_ENDPOINTS} or fewer`,
      );
    }
    const hasRate = peer.rateUp !== undefined || peer.rateDown !== undefined;
    if (peer.rateBurst !== undefined && !hasRate) {
      const path = ["peers", i, "rateBurst"];
      const [up, down] = ["rateUp", "rateDown"].map((field) =>
        source.called(["peers", i, field], path)
      );
      source.warn(path, `has no effect without ${up} or ${down}`);
    }
    const name = peer.name?.toLowerCase();
    const namesake = name === undefined ? undefined : byName.get(name);
    if (namesake !== undefined) {
      const where = source.place(["peers", namesake, "name"]);
      source.problem(
        ["peers", i, "name"],
        `${peer.name} is another peer's too, expected each name once (the first is at ${where})`,
      );
    }
    if (name !== undefined) byName.set(name, namesake ?? i);
    peer.allowedIps.forEach((prefix, j) => {
      const prefixPath = ["peers", i, "allowedIps", j];
      const before = byPrefix.get(`${prefix}`);
      if (before !== undefined && before[1] !== i && !takeTurns(peer, peers[Number(before[1])]!)) {
        // As with wg: an allowed IP belongs to the peer that got it last.
        source.warn(prefixPath, `${prefix} moves to this peer (also at ${source.place(before)})`);
      }
      byPrefix.set(`${prefix}`, prefixPath);
    });
  });
}

/** An initiation goes to all of them at once. */
const MAX_ENDPOINTS = 8;

function endpointsOf({ endpoint: [endpoint, ...otherEndpoints] }: PeerValues) {
  if (endpoint === undefined) return {};
  return { endpoint, ...(otherEndpoints.length > 0 && { otherEndpoints }) };
}

/** Where the first ones are silent, nobody waits for the last. */
const MAX_RESOLVERS = 4;

function checkProxy(source: ConfigSource, proxy: ProxyValues): void {
  const { interface: nic, subnets, map } = proxy;
  if (nic === "nic1") {
    source.warn(
      ["proxy", "interface"],
      "nic1 has the forwarders answer on the tunnel's own interface, nic2 keeps the two apart",
    );
  } else if (subnets.length === 0) {
    source.warn(["proxy", "subnets"], "missing: no target can be reached through the proxy");
  }
  if (proxy.resolver.length > MAX_RESOLVERS) {
    source.problem(
      ["proxy", "resolver", MAX_RESOLVERS],
      `${proxy.resolver.length} name servers are too many, expected ${MAX_RESOLVERS} or fewer`,
    );
  }
  const seen = new Map<string, number>();
  map.forEach(({ from, to }, i) => {
    const isSingle = to.length === to.address.bytes.length * 8;
    const refused = refusedAs(to);
    if (isSingle && to.address.isUnspecified) {
      source.warn(
        ["proxy", "map", i],
        `${to.address} is this host's loopback: all that listens there can be reached at ${from}`,
      );
    } else if (!isSingle && refused !== undefined && refused !== "loopback") {
      source.warn(
        ["proxy", "map", i],
        `${to} is ${refused}: what is sent to ${from} is refused, expected a single address`,
      );
    }
    const first = seen.get(`${from}`);
    if (first !== undefined) {
      const where = source.place(["proxy", "map", first]);
      source.problem(
        ["proxy", "map", i],
        `${from} is mapped twice, expected once (the first is at ${where})`,
      );
    }
    seen.set(`${from}`, first ?? i);
    const reachable = subnets.some((subnet) =>
      subnet.length <= from.length && subnet.contains(from.address)
    );
    if (nic === "nic2" && subnets.length > 0 && !reachable) {
      source.warn(
        ["proxy", "map", i],
        `${from} is not inside ${
          source.called(["proxy", "subnets"], ["proxy", "map", i])
        }, nothing will reach it there`,
      );
    }
  });
}

function checkStatus(source: ConfigSource, { listen, tokenFile }: StatusValues): void {
  if (listen.transport === "unix" || tokenFile !== undefined) return;
  if (listen.hostname === "localhost" || parseIpAddress(listen.hostname)?.isLoopback) return;
  source.problem(
    ["status", "listen"],
    `${listen.hostname} can be reached from outside, expected ${
      source.called(["status", "tokenFile"], ["status", "listen"])
    } beside it, or a loopback address`,
  );
}

function deviceConfig(source: ConfigSource, iface: InterfaceValues): DeviceConfig {
  const isServer = (text: string) => parseIpAddress(text) !== undefined;
  return {
    ...(Object(source.interface).mtu !== undefined && { mtu: iface.mtu }),
    dns: {
      servers: iface.dns.filter(isServer),
      domains: iface.dns.filter((text) => !isServer(text)),
    },
    table: iface.table,
    killSwitch: iface.killSwitch,
    preUp: iface.preUp,
    postUp: iface.postUp,
    preDown: iface.preDown,
    postDown: iface.postDown,
    saveConfig: iface.saveConfig,
  };
}

function checkCapture(
  source: ConfigSource,
  { write, rotate }: CaptureValues,
  log: LogValues | undefined,
): void {
  if (write === undefined) {
    source.problem(["capture", "write"], "missing, expected a file, - or tcp:ADDRESS:PORT");
    return;
  }
  if (rotate !== undefined && write.to !== "file") {
    const path = ["capture", "rotate"];
    const expected = source.assigned(["capture", "write"], "FILE", path);
    source.problem(path, `has no use without a file, expected ${expected}`);
  }
  if (write.to !== "stdout") return;
  if (log?.output === "stdout" || log?.access === "stdout") {
    source.problem(["capture", "write"], "standard output is a log's already, expected a file");
  }
}

function peerConfig(peer: PeerValues): PeerConfig {
  return {
    publicKey: peer.publicKey,
    ...(peer.name !== undefined && { name: peer.name }),
    ...(peer.presharedKey && { presharedKey: peer.presharedKey }),
    allowedIps: peer.allowedIps,
    ...endpointsOf(peer),
    ...fallbackConfigs(peer),
    persistentKeepalive: peer.persistentKeepalive,
    ...peerLimits(peer),
  };
}

function peerLimits(peer: PeerValues): Pick<PeerConfig, "limits"> {
  const { rateUp, rateDown, rateBurst = DEFAULT_RATE_BURST_MS, maxTcpConnections, maxUdpSessions } =
    peer;
  const given = {
    ...(rateUp !== undefined && { rateUp }),
    ...(rateDown !== undefined && { rateDown }),
    ...(maxTcpConnections !== undefined && { maxTcpConnections }),
    ...(maxUdpSessions !== undefined && { maxUdpSessions }),
  };
  if (Object.keys(given).length === 0 && peer.rateBurst === undefined) return {};
  return { limits: { ...given, rateBurstMs: rateBurst } };
}

function ruleConfig(rule: RuleValues): RuleConfig {
  const { rewrite, rate, flowRate, maxConnections, sendProxyProtocol } = rule;
  return {
    from: rule.from,
    to: rule.to,
    ports: rule.ports,
    action: rule.action,
    ...(rewrite && { rewrite }),
    ...(rate !== undefined && { rate }),
    ...(flowRate !== undefined && { flowRate }),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(sendProxyProtocol && { sendProxyProtocol }),
    warmConnections: rule.warmConnections,
  };
}

function proxyConfig(proxy: ProxyValues): ProxyConfig {
  const all = proxy.protocols.length === 0;
  return {
    interface: proxy.interface,
    subnets: proxy.subnets,
    tcp: all || proxy.protocols.includes("tcp"),
    udp: all || proxy.protocols.includes("udp"),
    icmp: all || proxy.protocols.includes("icmp"),
    maps: proxy.map.toSorted((a: MapConfig, b: MapConfig) => b.from.length - a.from.length),
    timeouts: {
      tcpDialMs: proxy.tcpDialTimeout,
      tcpHalfCloseMs: proxy.tcpHalfCloseTimeout,
      tcpKeepAliveIdleMs: proxy.tcpKeepaliveIdle,
      tcpKeepAliveIntervalMs: proxy.tcpKeepaliveInterval,
      tcpKeepAliveCount: proxy.tcpKeepaliveCount,
      udpIdleMs: proxy.udpIdleTimeout,
      udpDnsIdleMs: proxy.udpDnsIdleTimeout,
      icmpIdleMs: proxy.icmpIdleTimeout,
    },
    limits: {
      maxDials: proxy.maxDials,
      maxTcpConnections: proxy.maxTcpConnections,
      maxUdpSessions: proxy.maxUdpSessions,
      maxPingSessions: proxy.maxPingSessions,
      maxPingRate: proxy.maxPingRate,
    },
    udpFiltering: proxy.udpFiltering,
    resolver: proxy.resolver,
    defaultAction: proxy.default,
    ...(proxy.maxBufferMemory !== undefined && { maxBufferMemory: proxy.maxBufferMemory }),
  };
}

function statusConfig({ tokenFile, ...status }: StatusValues): StatusConfig {
  return { ...status, ...(tokenFile !== undefined && { tokenFile }) };
}

function captureConfig({ write, at, snap, filter, rotate }: CaptureValues): CaptureConfig {
  return {
    write: write!, // it has been checked
    at,
    snapLength: snap,
    ...(filter !== undefined && { filter }),
    ...(rotate !== undefined && { rotate }),
  };
}

function logConfig({ access, accessProtocols, ...log }: LogValues): LogConfig {
  return {
    ...log,
    ...(access !== undefined && { access }),
    accessProtocols: accessProtocols.length > 0 ? accessProtocols : ["tcp", "udp", "icmp"],
  };
}
