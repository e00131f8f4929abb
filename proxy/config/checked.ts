/**
 * The configuration that a gateway runs on: complete and checked.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { UdpFiltering } from "./input.ts";

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
  readonly icmp: boolean;
  /** The longest `from` first: the first match is the most specific. Lengths of a pair leave equally many host bits. */
  readonly maps: readonly MapConfig[];
  readonly timeouts: ProxyTimeouts;
  readonly limits: ProxyLimits;
  readonly udpFiltering: UdpFiltering;
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
