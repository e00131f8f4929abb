/**
 * What each section may hold. One schema for the text of a file, of flags, and an embedder's
 * object: it takes text, numbers and arrays alike.
 *
 * @module
 */

import * as z from "npm:zod@4.6.7";
import {
  DEFAULT_LIMITS,
  DEFAULT_STATUS,
  DEFAULT_TIMEOUTS,
  DEFAULT_UDP_FILTERING,
} from "./defaults.ts";
import type { StatusListen } from "./checked.ts";
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
  type Parse,
  parseAddressWithLength,
  parseBoolean,
  parseDns,
  parseEndpoint,
  ParseFailure,
  parseFile,
  parseFolder,
  parseFwMark,
  parseHostName,
  parseKeepalive,
  parseKeyInput,
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
  splitList,
  splitNames,
} from "./values.ts";
import {
  parseLinkConnect,
  parseLinkListen,
  parseNatAddress,
  parseNatPorts,
} from "./link_values.ts";
import { parseAllowedClient, parseFallback, parsePin, parseRelayListen } from "./relay_values.ts";
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

export const interfaceSchema = z.strictObject({
  privateKey: required(keyValue(), "a key made by wirestack genkey"),
  address: listOf(parseAddressWithLength),
  addressPool: listOf(parsePool),
  listenPort: optional(integer(0, 65535)),
  listenAddress: optional(parseListenAddress),
  mtu: optional(integer(MIN_MTU, MAX_MTU), DEFAULT_MTU),
  rekeyAfter: optional(seconds(1, 120)),
  peerToPeer: optional(parseBoolean, false),
  peersFrom: optional(parsePeersFrom),
  peersKey: keyValue().optional(),
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
});

export const peerSchema = z.strictObject({
  publicKey: required(keyValue(), "the peer's public key"),
  name: optional(parsePeerName),
  presharedKey: keyValue().optional(),
  allowedIps: listOf(parsePrefixValue),
  endpoint: listOf(parseEndpoint),
  fallback: listOf(parseFallback),
  cert: optional(parseFile),
  key: optional(parseFile),
  ca: optional(parseFile),
  pin: namesOf(parsePin),
  persistentKeepalive: optional(parseKeepalive, 0),
  rateUp: optional(parseRate),
  rateDown: optional(parseRate),
  rateBurst: optional(seconds(0.01, 60)),
  maxTcpConnections: optional(integer(0, 1_000_000)),
  maxUdpSessions: optional(integer(0, 1_000_000)),
});

const MAX_WARM_CONNECTIONS = 1_000;

export const ruleSchema = z.strictObject({
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
});

export const linkSchema = z.strictObject({
  name: required(value(parsePeerName), "what to call it"),
  listen: optional(parseLinkListen),
  connect: optional(parseLinkConnect),
  framing: optional(oneOf("length16", "length32", "datagram")),
  prefixes: listOf(parsePrefixValue),
  mtu: optional(integer(MIN_MTU, MAX_LINK_MTU), 1500),
  nat: listOf(parseNatAddress),
  natFiltering: optional(oneOf("endpoint", "address", "address-port")),
  natPorts: optional(parseNatPorts),
});

/** Less is no use: a connection at full speed takes more. */
const MIN_BUFFER_MEMORY = 1 << 20;

export const proxySchema = z.strictObject({
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
});

export const relaySchema = z.strictObject({
  listen: listOf(parseRelayListen),
  cert: required(value(parseFile), "the file with the certificate to show"),
  key: required(value(parseFile), "the file with the certificate's key"),
  clientCa: required(value(parseFile), "the file with the authority of those who come"),
  clientCaKey: optional(parseFile),
  crl: optional(parseFile),
  allowedClients: namesOf(parseAllowedClient),
});

/** Default {@link DEFAULT_STATUS} `.listen`. */
const DEFAULT_LISTEN = parseStatusListen(DEFAULT_STATUS.listen) as StatusListen;

export const statusSchema = z.strictObject({
  listen: optional(parseStatusListen, DEFAULT_LISTEN),
  tokenFile: optional(parseFile),
  allowedHosts: listOf(parseHostName),
  maxPeers: optional(integer(0, 10_000), DEFAULT_STATUS.maxPeers),
});

export const captureSchema = z.strictObject({
  // Needed, which is said when all else of the section is right.
  write: optional(parseCaptureTarget),
  at: listOf(parseCapturePoint),
  filter: optional(anyText),
  snap: optional(parseSnap, 0),
  rotate: optional(parseRotation),
});

export const logSchema = z.strictObject({
  level: optional(oneOf("trace", "debug", "info", "warning", "error"), "info"),
  format: optional(oneOf("text", "json"), "text"),
  output: optional(parseFile, "stderr"),
  access: optional(parseFile),
  accessProtocols: listOf(oneOf("tcp", "udp", "icmp")),
});

/** Of a gateway without WireGuard. */
export const keylessInterfaceSchema = interfaceSchema.extend({
  privateKey: keyValue().optional(),
});

/** By section: what the list of keys has is in these, and nothing else. */
export const SCHEMAS: Readonly<Record<Section, z.ZodObject>> = {
  interface: interfaceSchema,
  peers: peerSchema,
  rules: ruleSchema,
  links: linkSchema,
  proxy: proxySchema,
  relay: relaySchema,
  status: statusSchema,
  capture: captureSchema,
  log: logSchema,
};

export type InterfaceValues = z.output<typeof keylessInterfaceSchema>;
export type PeerValues = z.output<typeof peerSchema>;
export type RuleValues = z.output<typeof ruleSchema>;
export type LinkValues = z.output<typeof linkSchema>;
export type ProxyValues = z.output<typeof proxySchema>;
export type RelayValues = z.output<typeof relaySchema>;
export type StatusValues = z.output<typeof statusSchema>;
export type CaptureValues = z.output<typeof captureSchema>;
export type LogValues = z.output<typeof logSchema>;

function anyText(text: string): string {
  return text;
}

/** Text, or what a program would naturally write for it: a number or a boolean. */
function value<T>(parse: Parse<T>): z.ZodType<T, unknown> {
  return z.union([z.string(), z.number(), z.boolean()], {
    error: ({ input }) => `is ${kindOf(input)}, expected text or a number`,
  }).transform((input, context) => {
    const parsed = parse(String(input).trim());
    if (!(parsed instanceof ParseFailure)) return parsed;
    // No input: it would be kept in the error, and it may be a key.
    context.issues.push({ code: "custom", message: parsed.message, input: undefined });
    return z.NEVER;
  });
}

/** A key as text, or its bytes, which are copied. */
function keyValue(): z.ZodType<Uint8Array, unknown> {
  return z.unknown().transform((input, context) => {
    const key = parseKeyInput(input);
    if (!(key instanceof ParseFailure)) return key;
    context.issues.push({ code: "custom", message: key.message, input: undefined });
    return z.NEVER;
  });
}

function required<T>(type: z.ZodType<T, unknown>, what: string): z.ZodType<T, unknown> {
  return z.custom<unknown>((input) => input !== undefined, {
    error: `missing, expected ${what}`,
    abort: true,
  }).pipe(type);
}

function optional<T>(parse: Parse<T>): z.ZodOptional<z.ZodType<T, unknown>>;
function optional<T>(parse: Parse<T>, otherwise: NoInfer<T>): z.ZodDefault<z.ZodType<T, unknown>>;
function optional<T>(parse: Parse<T>, otherwise?: T) {
  return otherwise === undefined
    ? value(parse).optional()
    : value(parse).default(otherwise as never);
}

/** A list written as an array, or as one text with commas. */
function listOf<T>(parse: Parse<T>): z.ZodType<T[], unknown> {
  return splitBy(splitList, parse);
}

/** The same with commas alone. */
function namesOf<T>(parse: Parse<T>): z.ZodType<T[], unknown> {
  return splitBy(splitNames, parse);
}

/** The same for values that may themselves have commas. */
function linesOf<T>(parse: Parse<T>): z.ZodType<T[], unknown> {
  return splitBy((text) => [text], parse);
}

function splitBy<T>(split: (text: string) => string[], parse: Parse<T>): z.ZodType<T[], unknown> {
  return z.preprocess(
    (input) => typeof input === "string" ? split(input) : input ?? [],
    z.array(value(parse), { error: ({ input }) => `is ${kindOf(input)}, expected a list` }),
  );
}

function kindOf(input: unknown): string {
  if (input === null) return "null";
  if (Array.isArray(input)) return "a list";
  return typeof input === "object" ? "an object" : typeof input;
}
