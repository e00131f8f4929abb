/**
 * The configuration that a gateway runs on: complete and checked.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { LogLevel, RuleAction, UdpFiltering } from "./input.ts";

/** A complete, checked configuration. */
export interface GatewayConfig {
  /** 32 bytes. Missing: there is no WireGuard, and links alone bring packets. */
  readonly privateKey?: Uint8Array;
  /** NIC 1's own addresses, with the length of the network each is in. */
  readonly addresses: readonly { readonly address: IpAddress; readonly length: number }[];
  /** Where new peers' addresses come from, for a family that has none: from the networks above. */
  readonly addressPool: readonly Prefix[];
  /** UDP. Missing or 0: any free one. */
  readonly listenPort?: number;
  readonly listenAddress?: string;
  /** Of WireGuard's datagrams. Missing or 0: none. */
  readonly fwMark?: number;
  /** Bytes of an inner packet. */
  readonly mtu: number;
  /** For a device of the operating system, `up --tun`. */
  readonly device: DeviceConfig;
  readonly peers: readonly PeerConfig[];
  /** In order: the first that matches decides. */
  readonly rules: readonly RuleConfig[];
  readonly links: readonly LinkConfig[];
  /** Missing: tunnel only. */
  readonly proxy?: ProxyConfig;
  /** Replaces REKEY_AFTER_TIME (whitepaper §6.1) when it is shorter. */
  readonly rekeyAfterMs?: number;
  /** Whether a packet for another peer is passed on to it. */
  readonly peerToPeer: boolean;
  /** Missing: no peers but those of the file, and of enrolment. */
  readonly peerList?: PeerListConfig;
  /** Of the control socket: a folder, or `off`. Missing: where `wg` looks. */
  readonly controlDir?: string;
  /** Missing: peers come by UDP alone. */
  readonly relay?: RelayConfig;
  /** Missing: nobody is answered. */
  readonly status?: StatusConfig;
  readonly capture?: CaptureConfig;
  readonly log: LogConfig;
}

/** Where a list of peers is. */
export type PeerListPlace =
  /** Without a user's name. */
  | { readonly url: string }
  | { readonly path: string };

/** A signed list of peers. */
export interface PeerListConfig {
  readonly place: PeerListPlace;
  /** Ed25519, 32 bytes. */
  readonly key: Uint8Array;
  /** A PEM file. Missing: the well-known authorities. */
  readonly caPath?: string;
  /** Between two looks at a URL. */
  readonly intervalMs: number;
}

/** What wg-quick does beside WireGuard. */
export interface DeviceConfig {
  /** As configured; missing: what the route to the endpoint leaves. */
  readonly mtu?: number;
  readonly dns: { readonly servers: readonly string[]; readonly domains: readonly string[] };
  readonly table: "off" | "auto" | number;
  readonly killSwitch: boolean;
  /** Commands, in order. */
  readonly preUp: readonly string[];
  readonly postUp: readonly string[];
  readonly preDown: readonly string[];
  readonly postDown: readonly string[];
  readonly saveConfig: boolean;
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
  /** Where else it may be, or replicas of it with the same key. Only beside {@link endpoint}. */
  readonly otherEndpoints?: readonly { readonly hostname: string; readonly port: number }[];
  /** In order; missing: none. */
  readonly fallbacks?: readonly FallbackConfig[];
  /** Seconds; 0 is off. */
  readonly persistentKeepalive: number;
  /** Missing: none. */
  readonly limits?: PeerLimits;
}

/** Where else a peer is when UDP does not get through. */
export interface FallbackConfig {
  /** As it is written: `tls://hub.example.com:443`. */
  readonly url: string;
  readonly transport: RelayTransport;
  /** A name or an address, IPv6 without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Of PEM files, as is {@link caPath}. */
  readonly certPath: string;
  readonly keyPath: string;
  /** Missing: one of {@link pins} alone tells who it is. */
  readonly caPath?: string;
  /** SHA-256 of public keys (SPKI), 32 bytes each. None: any that the authority vouches for. */
  readonly pins: readonly Uint8Array[];
  /** Where the certificate is renewed. Missing: nowhere. */
  readonly renewAt?: TunnelPlace;
}

/** A port inside the tunnel. */
export interface TunnelPlace {
  readonly address: IpAddress;
  readonly port: number;
}

/** What carries WireGuard's datagrams in place of UDP. */
export type RelayTransport = "tls" | "grpc";

/** Where peers come that UDP does not get through to. Paths are of PEM files. */
export interface RelayConfig {
  /** `hostname` is an address without brackets. */
  readonly listen: readonly RelayListen[];
  readonly certPath: string;
  readonly keyPath: string;
  readonly clientCaPath: string;
  readonly clientCaKeyPath?: string;
  readonly crlPath?: string;
  /** None: all. */
  readonly allowedClients: readonly AllowedClient[];
}

export interface RelayListen {
  readonly transport: RelayTransport;
  readonly hostname: string;
  readonly port: number;
}

/** A name in a certificate, in small letters, or SHA-256 of a public key (SPKI), 32 bytes. */
export type AllowedClient = string | Uint8Array;

/** What a peer may have by itself. Missing: as much as there is. */
export interface PeerLimits {
  /** Bits per second, from the peer. */
  readonly rateUp?: number;
  /** Bits per second, to the peer. */
  readonly rateDown?: number;
  /** Of a rate, what may be saved up. */
  readonly rateBurstMs: number;
  readonly maxTcpConnections?: number;
  readonly maxUdpSessions?: number;
}

export interface RuleConfig {
  /** Clients' addresses, or peers' names in any case. None: everybody. */
  readonly from: readonly (Prefix | string)[];
  /** Of the destination asked for, or names of hosts in small letters. None: every one. */
  readonly to: readonly (Prefix | string)[];
  /** Of the destination asked for. None: every protocol and port. */
  readonly ports: readonly PortsConfig[];
  readonly action: RuleAction;
  readonly rewrite?: RewriteConfig;
  /** Of all its flows together, bits/s each way. */
  readonly rate?: number;
  /** Of each of its flows, bits/s each way. */
  readonly flowRate?: number;
  readonly maxConnections?: number;
  readonly sendProxyProtocol?: "v1" | "v2";
  readonly warmConnections: number;
}

/** Raw IP packets to and from another program. */
export interface LinkConfig {
  readonly name: string;
  readonly place: LinkPlace;
  /** Whether the other side comes there; otherwise it is there. */
  readonly isListening: boolean;
  readonly framing: "length16" | "length32" | "datagram";
  /** None: any source that is routed nowhere else, and nothing is routed to the link. */
  readonly prefixes: readonly Prefix[];
  /** Bytes. */
  readonly mtu: number;
  /** Missing: those behind it appear as they are. */
  readonly nat?: NatConfig;
}

/** One address of each family at most; both ports are included. */
export interface NatConfig {
  readonly addresses: readonly IpAddress[];
  readonly filtering?: UdpFiltering;
  readonly ports?: { readonly first: number; readonly last: number };
}

/** `hostname` is an address without brackets; where a link connects to, also a name. */
export type LinkPlace = StreamPlace | DatagramPlace;

/** A place of byte streams. */
export type StreamPlace =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number };

/** A place of datagrams. */
export type DatagramPlace =
  | { readonly transport: "unixgram"; readonly path: string }
  | { readonly transport: "udp"; readonly hostname: string; readonly port: number };

/** Both ports are included; 0 to 65535 for every one, and for `icmp`. */
export interface PortsConfig {
  readonly protocol: "tcp" | "udp" | "icmp";
  readonly first: number;
  readonly last: number;
}

/** At least one of the two. */
export interface RewriteConfig {
  /** A single address is a prefix with its whole length; a text is a host's name in small letters. */
  readonly to?: Prefix | string;
  readonly port?: number;
}

export interface ProxyConfig {
  readonly interface: "nic1" | "nic2";
  readonly subnets: readonly Prefix[];
  readonly tcp: boolean;
  readonly udp: boolean;
  readonly icmp: boolean;
  /** The longest `from` first: the first match is the most specific. Lengths of a pair leave equally many host bits. */
  readonly maps: readonly MapConfig[];
  readonly timeouts: ProxyTimeouts;
  readonly limits: ProxyLimits;
  readonly udpFiltering: UdpFiltering;
  /** Asked for names of targets, in turn. None: the system. */
  readonly resolver: readonly { readonly address: IpAddress; readonly port: number }[];
  /** For what no rule matches. */
  readonly defaultAction: RuleAction;
  /** Of all connections' buffers, bytes. Missing: a quarter of the machine's or the container's. */
  readonly maxBufferMemory?: number;
}

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
  readonly icmpIdleMs: number;
}

export interface ProxyLimits {
  readonly maxDials: number;
  readonly maxTcpConnections: number;
  readonly maxUdpSessions: number;
  readonly maxPingSessions: number;
  readonly maxPingRate: number;
}

export interface StatusConfig {
  readonly listen: StatusListen;
  /** A path. */
  readonly tokenFile?: string;
  /** In lower case. */
  readonly allowedHosts: readonly string[];
  readonly maxPeers: number;
}

/** `hostname` is an address without brackets, or `localhost`; port 0 is any free one. */
export type StatusListen =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

export interface CaptureConfig {
  readonly write: CaptureTarget;
  /** Empty: where a capture is by default. */
  readonly at: readonly string[];
  /** Not looked at yet. */
  readonly filter?: string;
  /** Bytes; 0 for all. */
  readonly snapLength: number;
  /** Of a file alone. */
  readonly rotate?: CaptureRotation;
}

/** Where captured packets go. `hostname` is a loopback address without brackets. */
export type CaptureTarget =
  | { readonly to: "file"; readonly path: string }
  | { readonly to: "stdout" }
  | { readonly to: "tcp"; readonly hostname: string; readonly port: number };

/** Files that take turns: bytes of each, and how many. */
export interface CaptureRotation {
  readonly bytes: number;
  readonly count: number;
}

export interface LogConfig {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** A path, `stderr` or `stdout`. */
  readonly output: string;
  /** As {@link output}. Missing: no access log. */
  readonly access?: string;
  readonly accessProtocols: readonly ("tcp" | "udp" | "icmp")[];
}
