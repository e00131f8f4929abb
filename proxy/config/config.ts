/**
 * The gateway's configuration: what people write ({@link ConfigInput}, or a wg-quick file with our
 * `[Proxy]` section) and what the engine runs on ({@link GatewayConfig}). `docs/configuration.md`
 * has every key.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { KeyInput } from "../base64.ts";
import { ConfigError } from "./error.ts";
import { parseConfigFile } from "./file.ts";
import { ConfigSource } from "./source.ts";
import { validateConfig, validatePeer } from "./validate.ts";

export { ConfigError, SettingError } from "./error.ts";
export type { KeyInput } from "../base64.ts";

/** Several values: an array, or one text with commas between them. */
export type ListInput = string | readonly string[];

/**
 * A configuration as an embedder writes it. Names and meanings are those of the file, so every
 * number may also be text.
 *
 * @example
 * ```ts ignore
 * const input: ConfigInput = {
 *   interface: { privateKey, address: ["10.9.0.1/24", "fd09::1/64"], listenPort: 51820 },
 *   peers: [{ publicKey, allowedIps: ["10.9.0.2/32"] }],
 *   proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1/32 -> 127.0.0.1/32"] },
 * };
 * ```
 */
export interface ConfigInput {
  /** This end of the tunnel. */
  interface: InterfaceInput;
  /** The other ends. */
  peers?: readonly PeerInput[];
  /** What peers reach through this process. Missing: nothing. */
  proxy?: ProxyInput;
}

/** This end of the tunnel, as `[Interface]` of a file. */
export interface InterfaceInput {
  /** As {@link generatePrivateKey} or `wg genkey` makes it. */
  privateKey: KeyInput;
  /** This end's own, with the length of the network each is in: `10.9.0.1/24`. */
  address?: ListInput;
  /** UDP. Missing or 0: any free one. */
  listenPort?: number | string;
  /** The address of this host to listen on. Every one, IPv4 and IPv6, when missing. */
  listenAddress?: string;
  /** Bytes. Default 1420. */
  mtu?: number | string;
  /** Seconds, at most 120. */
  rekeyAfter?: number | string;
  /** Whether peers reach each other through this gateway; false by default. */
  peerToPeer?: boolean | string;
  /** Of the command line's gateway. A program has no control socket. */
  controlDir?: string;
  /** Of wg-quick: read, and without effect, as all that follow but {@link fwMark}. */
  dns?: ListInput;
  /** Of wg-quick, without effect. */
  table?: string;
  /** Of what WireGuard sends, for the system's routing rules: a number, or `"off"`. Needs FFI. */
  fwMark?: number | string;
  /** Of wg-quick, without effect. */
  preUp?: ListInput;
  /** Of wg-quick, without effect. */
  postUp?: ListInput;
  /** Of wg-quick, without effect. */
  preDown?: ListInput;
  /** Of wg-quick, without effect. */
  postDown?: ListInput;
  /** Of wg-quick, without effect. */
  saveConfig?: boolean | string;
  /** Of WireGuard's apps, without effect. */
  includedApplications?: ListInput;
  /** Of WireGuard's apps, without effect. */
  excludedApplications?: ListInput;
}

/** Another end, as `[Peer]` of a file. */
export interface PeerInput {
  /** As {@link publicKeyOf} or `wg pubkey` makes it. */
  publicKey: KeyInput;
  /** What to call the peer: 1 to 64 of `a-z A-Z 0-9 . _ @ -` and blanks inside. No two are alike. */
  name?: string;
  /** The same at both ends, if any: {@link generatePresharedKey}. */
  presharedKey?: KeyInput;
  /** What is sent to the peer, and from where it may send: `10.9.0.2/32`. */
  allowedIps?: ListInput;
  /** `HOST:PORT` or `[IPV6]:PORT`. */
  endpoint?: string;
  /** Seconds, or `"off"`. */
  persistentKeepalive?: number | string;
}

/** Durations are seconds. */
export interface ProxyInput {
  /** What peers reach: `10.50.0.0/16`. */
  subnets?: ListInput;
  /** `tcp`, `udp`. Missing: both. */
  protocols?: ListInput;
  /** Which addresses are dialled at others: `10.50.0.1/32 -> 127.0.0.1/32`. */
  map?: ListInput;
  /** `nic1`: the forwarders answer on the tunnel's own interface. Default `nic2`. */
  interface?: "nic1" | "nic2";
  /** For a target to answer. Default 5. */
  tcpDialTimeout?: number | string;
  /** For the other side to close, when one has and nothing moves. Default 60. */
  tcpHalfCloseTimeout?: number | string;
  /** Silence before a client is probed. Default 60. */
  tcpKeepaliveIdle?: number | string;
  /** Between probes. Default 30. */
  tcpKeepaliveInterval?: number | string;
  /** Unanswered probes that end a connection. Default 9. */
  tcpKeepaliveCount?: number | string;
  /** After which a UDP session ends. Default 60. */
  udpIdleTimeout?: number | string;
  /** The same towards port 53. Default 30. */
  udpDnsIdleTimeout?: number | string;
  /** Who may answer: anybody, an address that was asked, or only its port. Default `address`. */
  udpFiltering?: UdpFiltering;
  /** Connections being made to targets at once. Default 2048. */
  maxDials?: number | string;
  /** Connections to targets at once. Default 16384. */
  maxTcpConnections?: number | string;
  /** UDP sessions at once. Default 4096. */
  maxUdpSessions?: number | string;
  /** Bytes, or with `k`, `M` or `G`: of all connections' buffers. Default: a quarter of the memory. */
  maxBufferMemory?: number | string;
}

/** A complete, checked configuration. */
export interface GatewayConfig {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** NIC 1's own addresses, with the length of the network each is in. */
  readonly addresses: readonly { readonly address: IpAddress; readonly length: number }[];
  /** UDP. Missing or 0: any free one. */
  readonly listenPort?: number;
  readonly listenAddress?: string;
  /** Of WireGuard's datagrams. Missing or 0: none. */
  readonly fwMark?: number;
  /** Bytes of an inner packet. */
  readonly mtu: number;
  readonly dns: readonly string[];
  readonly peers: readonly PeerConfig[];
  /** Missing: tunnel only. */
  readonly proxy?: ProxyConfig;
  /** Replaces REKEY_AFTER_TIME (whitepaper §6.1) when it is shorter. */
  readonly rekeyAfterMs?: number;
  /** Whether a packet for another peer is passed on to it. */
  readonly peerToPeer: boolean;
  /** Of the control socket: a folder, or `off`. Missing: where `wg` looks. */
  readonly controlDir?: string;
}

export interface PeerConfig {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly name?: string;
  /** 32 bytes. */
  readonly presharedKey?: Uint8Array;
  readonly allowedIps: readonly Prefix[];
  /** `hostname` is a name or an address, IPv6 without brackets. */
  readonly endpoint?: { readonly hostname: string; readonly port: number };
  /** Seconds; 0 is off. */
  readonly persistentKeepalive: number;
}

export interface ProxyConfig {
  readonly interface: "nic1" | "nic2";
  readonly subnets: readonly Prefix[];
  readonly tcp: boolean;
  readonly udp: boolean;
  /** The longest `from` first: the first match is the most specific. Lengths of a pair leave equally many host bits. */
  readonly maps: readonly MapConfig[];
  readonly timeouts: ProxyTimeouts;
  readonly limits: ProxyLimits;
  readonly udpFiltering: UdpFiltering;
  /** Of all connections' buffers, bytes. Missing: a quarter of the machine's or the container's. */
  readonly maxBufferMemory?: number;
}

/** RFC 4787 §5, there called endpoint-independent, address-dependent, address-and-port-dependent. */
export type UdpFiltering = "endpoint" | "address" | "address-port";

/** Addresses in `from` are dialled at the same place in `to`. */
export interface MapConfig {
  readonly from: Prefix;
  readonly to: Prefix;
}

export interface ProxyTimeouts {
  readonly tcpDialMs: number;
  readonly tcpHalfCloseMs: number;
  readonly tcpKeepAliveIdleMs: number;
  readonly tcpKeepAliveIntervalMs: number;
  readonly tcpKeepAliveCount: number;
  readonly udpIdleMs: number;
  readonly udpDnsIdleMs: number;
}

export interface ProxyLimits {
  readonly maxDials: number;
  readonly maxTcpConnections: number;
  readonly maxUdpSessions: number;
}

export interface LoadedConfig {
  readonly config: GatewayConfig;
  /** One line each, with its place in front. For the log. */
  readonly warnings: readonly string[];
  /** Where each value came from, for what is found out later: `source.label(error.path)`. */
  readonly source: ConfigSource;
}

/**
 * Reads a wg-quick file's text or an embedder's object.
 *
 * @param options.file The name to put into messages about text.
 * @throws {ConfigError} naming every problem.
 */
export function loadConfig(
  source: string | ConfigInput,
  options: { file?: string } = {},
): LoadedConfig {
  return loadSource(
    typeof source === "string"
      ? parseConfigFile(source, options.file ?? "configuration")
      : ConfigSource.fromObject(source),
  );
}

/**
 * Reads one peer of an embedder's.
 *
 * @throws {ConfigError} naming every problem.
 */
export function loadPeer(input: PeerInput): PeerConfig {
  const source = new ConfigSource();
  const peer = validatePeer(source, input);
  if (peer !== undefined) return peer;
  throw new ConfigError(source.problems().map((problem) => problem.replace("peers[0]", "peer")));
}

/** @throws {ConfigError} naming every problem. */
export function loadSource(source: ConfigSource): LoadedConfig {
  const config = validateConfig(source);
  if (config === undefined) throw new ConfigError(source.problems());
  return { config, warnings: source.warnings(), source };
}
