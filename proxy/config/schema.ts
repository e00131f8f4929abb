/**
 * What each section may hold. One schema for the text of a file, of flags, and an embedder's
 * object: it takes text, numbers and arrays alike.
 *
 * @module
 */

import {
  DEFAULT_LIMITS,
  DEFAULT_STATUS,
  DEFAULT_TIMEOUTS,
  DEFAULT_UDP_FILTERING,
} from "./defaults.ts";
import type { StatusListen } from "./checked.ts";
import {
  type Fields,
  keyValue,
  linesOf,
  listOf,
  namesOf,
  optional,
  orNothing,
  required,
  value,
  type ValuesOf,
} from "./fields.ts";
import type { Section } from "./keys.ts";
import {
  parseCapturePoint,
  parseCaptureTarget,
  parseRotation,
  parseSnap,
} from "./capture_values.ts";
import {
  bytes,
  integer,
  oneOf,
  parseAddressWithLength,
  parseBoolean,
  parseDns,
  parseEndpoint,
  parseFile,
  parseFolder,
  parseFwMark,
  parseHostName,
  parseKeepalive,
  parseListenAddress,
  parseMap,
  parseNameServer,
  parsePeerName,
  parsePool,
  parsePrefixValue,
  parseRate,
  parseStatusListen,
  parseTable,
  seconds,
} from "./values.ts";
import {
  parseLinkConnect,
  parseLinkListen,
  parseNatAddress,
  parseNatPorts,
} from "./link_values.ts";
import {
  parseAllowedClient,
  parseFallback,
  parsePin,
  parseRelayListen,
  parseRenewAt,
} from "./relay_values.ts";
import { parsePeersFrom } from "./peer_list_values.ts";
import { parsePorts, parseRewrite, parseRuleDestination, parseRuleSource } from "./rule_values.ts";

/** As of wg-quick where the path has 1500. */
export const DEFAULT_MTU = 1420;

/** Packets every IPv4 host must take (RFC 791 §3.1). */
const MIN_MTU = 576;

/** What a UDP datagram on IPv4 can carry (65,507) less WireGuard's 32 bytes. */
const MAX_MTU = 65475;

/** The largest IP packet that a link frames. */
const MAX_LINK_MTU = 65535;

const DAY = 86400;

export const interfaceFields = {
  privateKey: required(keyValue(), "a key made by wirestack genkey"),
  address: listOf(parseAddressWithLength),
  addressPool: listOf(parsePool),
  listenPort: optional(integer(0, 65535)),
  listenAddress: optional(parseListenAddress),
  mtu: optional(integer(MIN_MTU, MAX_MTU), DEFAULT_MTU),
  rekeyAfter: optional(seconds(1, 120)),
  peerToPeer: optional(parseBoolean, false),
  peersFrom: optional(parsePeersFrom),
  peersKey: orNothing(keyValue()),
  peersCa: optional(parseFile),
  peersInterval: optional(seconds(5, DAY)),
  controlDir: optional(parseFolder),
  dns: listOf(parseDns),
  table: optional(parseTable, "auto"),
  killSwitch: optional(parseBoolean, false),
  fwMark: optional(parseFwMark),
  preUp: linesOf(anyText),
  postUp: linesOf(anyText),
  preDown: linesOf(anyText),
  postDown: linesOf(anyText),
  saveConfig: optional(parseBoolean, false),
  includedApplications: listOf(anyText),
  excludedApplications: listOf(anyText),
} satisfies Fields;

export const peerFields = {
  publicKey: required(keyValue(), "the peer's public key"),
  name: optional(parsePeerName),
  presharedKey: orNothing(keyValue()),
  allowedIps: listOf(parsePrefixValue),
  endpoint: listOf(parseEndpoint),
  fallback: listOf(parseFallback),
  cert: optional(parseFile),
  key: optional(parseFile),
  ca: optional(parseFile),
  pin: namesOf(parsePin),
  renewAt: optional(parseRenewAt),
  persistentKeepalive: optional(parseKeepalive, 0),
  rateUp: optional(parseRate),
  rateDown: optional(parseRate),
  rateBurst: optional(seconds(0.01, 60)),
  maxTcpConnections: optional(integer(0, 1_000_000)),
  maxUdpSessions: optional(integer(0, 1_000_000)),
} satisfies Fields;

const MAX_WARM_CONNECTIONS = 1_000;

export const ruleFields = {
  from: namesOf(parseRuleSource),
  to: listOf(parseRuleDestination),
  ports: listOf(parsePorts),
  action: optional(oneOf("allow", "reject", "drop"), "allow"),
  rewrite: optional(parseRewrite),
  rate: optional(parseRate),
  flowRate: optional(parseRate),
  maxConnections: optional(integer(1, 1_000_000)),
  sendProxyProtocol: optional(oneOf("v1", "v2")),
  warmConnections: optional(integer(0, MAX_WARM_CONNECTIONS), 0),
} satisfies Fields;

export const linkFields = {
  name: required(value(parsePeerName), "what to call it"),
  listen: optional(parseLinkListen),
  connect: optional(parseLinkConnect),
  framing: optional(oneOf("length16", "length32", "datagram")),
  prefixes: listOf(parsePrefixValue),
  mtu: optional(integer(MIN_MTU, MAX_LINK_MTU), 1500),
  nat: listOf(parseNatAddress),
  natFiltering: optional(oneOf("endpoint", "address", "address-port")),
  natPorts: optional(parseNatPorts),
} satisfies Fields;

/** Less is no use: a connection at full speed takes more. */
const MIN_BUFFER_MEMORY = 1 << 20;

export const proxyFields = {
  subnets: listOf(parsePrefixValue),
  protocols: listOf(oneOf("tcp", "udp", "icmp")),
  map: listOf(parseMap),
  interface: optional(oneOf("nic1", "nic2"), "nic2"),
  tcpDialTimeout: optional(seconds(0.1, 300), DEFAULT_TIMEOUTS.tcpDialMs),
  tcpHalfCloseTimeout: optional(seconds(0.1, DAY), DEFAULT_TIMEOUTS.tcpHalfCloseMs),
  tcpKeepaliveIdle: optional(seconds(1, DAY), DEFAULT_TIMEOUTS.tcpKeepAliveIdleMs),
  tcpKeepaliveInterval: optional(seconds(1, DAY), DEFAULT_TIMEOUTS.tcpKeepAliveIntervalMs),
  tcpKeepaliveCount: optional(integer(1, 255), DEFAULT_TIMEOUTS.tcpKeepAliveCount),
  udpIdleTimeout: optional(seconds(0.1, DAY), DEFAULT_TIMEOUTS.udpIdleMs),
  udpFiltering: optional(
    oneOf("endpoint", "address", "address-port"),
    DEFAULT_UDP_FILTERING,
  ),
  udpDnsIdleTimeout: optional(seconds(0.1, DAY), DEFAULT_TIMEOUTS.udpDnsIdleMs),
  icmpIdleTimeout: optional(seconds(0.1, DAY), DEFAULT_TIMEOUTS.icmpIdleMs),
  resolver: listOf(parseNameServer),
  default: optional(oneOf("allow", "reject", "drop"), "allow"),
  maxDials: optional(integer(1, 1_000_000), DEFAULT_LIMITS.maxDials),
  maxTcpConnections: optional(integer(1, 1_000_000), DEFAULT_LIMITS.maxTcpConnections),
  maxUdpSessions: optional(integer(1, 1_000_000), DEFAULT_LIMITS.maxUdpSessions),
  maxPingSessions: optional(integer(1, 1_000_000), DEFAULT_LIMITS.maxPingSessions),
  maxPingRate: optional(integer(1, 1_000_000), DEFAULT_LIMITS.maxPingRate),
  maxBufferMemory: optional(bytes(MIN_BUFFER_MEMORY, 2 ** 50)),
} satisfies Fields;

export const relayFields = {
  listen: listOf(parseRelayListen),
  cert: required(value(parseFile), "the file with the certificate to show"),
  key: required(value(parseFile), "the file with the certificate's key"),
  clientCa: required(value(parseFile), "the file with the authority of those who come"),
  clientCaKey: optional(parseFile),
  crl: optional(parseFile),
  allowedClients: namesOf(parseAllowedClient),
} satisfies Fields;

/** Default {@link DEFAULT_STATUS} `.listen`. */
const DEFAULT_LISTEN = parseStatusListen(DEFAULT_STATUS.listen) as StatusListen;

export const statusFields = {
  listen: optional(parseStatusListen, DEFAULT_LISTEN),
  tokenFile: optional(parseFile),
  allowedHosts: listOf(parseHostName),
  maxPeers: optional(integer(0, 10_000), DEFAULT_STATUS.maxPeers),
} satisfies Fields;

export const captureFields = {
  // Needed, which is said when all else of the section is right.
  write: optional(parseCaptureTarget),
  at: listOf(parseCapturePoint),
  filter: optional(anyText),
  snap: optional(parseSnap, 0),
  rotate: optional(parseRotation),
} satisfies Fields;

export const logFields = {
  level: optional(oneOf("trace", "debug", "info", "warning", "error"), "info"),
  format: optional(oneOf("text", "json"), "text"),
  output: optional(parseFile, "stderr"),
  access: optional(parseFile),
  accessProtocols: listOf(oneOf("tcp", "udp", "icmp")),
} satisfies Fields;

/** Of a gateway without WireGuard. */
export const keylessInterfaceFields = {
  ...interfaceFields,
  privateKey: orNothing(keyValue()),
} satisfies Fields;

/** By section: what the list of keys has is in these, and nothing else. */
export const SECTION_FIELDS: Readonly<Record<Section, Fields>> = {
  interface: interfaceFields,
  peers: peerFields,
  rules: ruleFields,
  links: linkFields,
  proxy: proxyFields,
  relay: relayFields,
  status: statusFields,
  capture: captureFields,
  log: logFields,
};

export type InterfaceValues = ValuesOf<typeof keylessInterfaceFields>;
export type PeerValues = ValuesOf<typeof peerFields>;
export type RuleValues = ValuesOf<typeof ruleFields>;
export type LinkValues = ValuesOf<typeof linkFields>;
export type ProxyValues = ValuesOf<typeof proxyFields>;
export type RelayValues = ValuesOf<typeof relayFields>;
export type StatusValues = ValuesOf<typeof statusFields>;
export type CaptureValues = ValuesOf<typeof captureFields>;
export type LogValues = ValuesOf<typeof logFields>;

function anyText(text: string): string {
  return text;
}
