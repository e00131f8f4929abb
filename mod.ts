/**
 * Wirestack as a module: a WireGuard gateway inside your program.
 *
 * {@link Wirestack} is the whole of it: `connect`, `listen` and `listenDatagram` inside the tunnel,
 * shaped as Deno's own; `enableProxyOnSubnet` to let peers reach what this program can reach. The
 * protocol and the network stack can be had on their own: `@wirestack/wirestack/wireguard` and
 * `@wirestack/wirestack/netstack`.
 *
 * @example
 * ```ts
 * import { generatePrivateKey, publicKeyOf, Wirestack } from "./mod.ts";
 *
 * const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
 * await using gateway = await Wirestack.start({
 *   interface: { privateKey: ours, address: "10.9.0.1/24" },
 *   peers: [{ publicKey: publicKeyOf(theirs), allowedIps: "10.9.0.2/32" }],
 * });
 * await using client = await Wirestack.start({
 *   interface: { privateKey: theirs, address: "10.9.0.2/24" },
 *   peers: [{
 *     publicKey: publicKeyOf(ours),
 *     allowedIps: "10.9.0.0/24",
 *     endpoint: `127.0.0.1:${gateway.port}`,
 *   }],
 * });
 *
 * using listener = gateway.listen({ port: 7 });
 * listener.accept().then((conn) => conn.readable.pipeTo(conn.writable));
 * using conn = await client.connect({ hostname: "10.9.0.1", port: 7 });
 * await conn.write(new TextEncoder().encode("through the tunnel"));
 * await conn.closeWrite();
 * console.log(await new Response(conn.readable).text());
 * ```
 *
 * @module
 */

import "./proxy/embed/deno_version.ts"; // first

export {
  type ConnectOptions,
  type ListenDatagramOptions,
  type ListenOptions,
  type PacketCaptureOptions,
  Wirestack,
} from "./proxy/embed/wirestack.ts";
export type { ConfigSourceInput } from "./proxy/embed/source.ts";
export type { PeerChanges } from "./proxy/gateway/peer_changes.ts";
export { type AddLinkOptions, TunnelLink } from "./proxy/embed/link.ts";
export { CaptureError } from "./proxy/capture/error.ts";
export type { CaptureOptions } from "./proxy/capture/captures.ts";
export type { CapturedData, PacketCapture } from "./proxy/capture/packets.ts";
export type { TunnelConn } from "./proxy/tunnel/conn.ts";
export type { TunnelDatagramConn, TunnelListener } from "./proxy/tunnel/listener.ts";
export type { Protocols, ProxiedSubnet } from "./proxy/forward/subnet_proxy.ts";
export {
  type CaptureInput,
  ConfigError,
  type ConfigInput,
  type InterfaceInput,
  type KeyInput,
  type LinkInput,
  type ListInput,
  type LogInput,
  type LogLevel,
  type PeerInput,
  type ProxyInput,
  type RelayInput,
  type RuleAction,
  type RuleInput,
  SettingError,
  type StatusInput,
  type UdpFiltering,
} from "./proxy/config/config.ts";
export type {
  CloseOptions,
  CloseResult,
  ConnectionStats,
  DeviceStats,
  GatewayOptions,
  GatewayStats,
  LinkDropStats,
  LinkNatStats,
  LinkStats,
  ListRefusal,
  MemoryStats,
  PeerListStats,
  PeerOrigin,
  PeerState,
  PeerStats,
} from "./proxy/gateway/gateway.ts";
export type { CarrierStats, StreamState } from "./proxy/bind/stream/mod.ts";
export type { ConfigPath } from "./proxy/config/error.ts";
export type { Resolve } from "./proxy/gateway/resolver.ts";
export type {
  Aead,
  AeadKey,
  Crypto,
  DeviceCounters,
  TimerSettings,
  X25519,
} from "./wireguard/mod.ts";
export type {
  IcmpCounters,
  IpAddress,
  IpCounters,
  IpVersion,
  KeepAlive,
  StackResources,
  TcpCounters,
  TcpSettings,
  UdpCounters,
} from "./netstack/mod.ts";
export { AmbiguousFlow, type FlowStats } from "./proxy/gateway/flow_stats.ts";
export type {
  GatewayCounters,
  ResourceStats,
  TargetCounters,
} from "./proxy/gateway/stats_counters.ts";
export type {
  FlowsStats,
  NetworkStats,
  ProtocolStats,
  RuleStats,
} from "./proxy/gateway/stats_flows.ts";
export type { TimeStats, TotalsStats } from "./proxy/flow/totals.ts";
export type { HistogramStats } from "./proxy/flow/histogram.ts";
export type { Reasons } from "./proxy/flow/statistics.ts";
export type { Refusal } from "./proxy/flow/refusal.ts";
export type { UdpBindCounters } from "./proxy/bind/udp.ts";
export type { EngineCounters } from "./proxy/engine/engine.ts";
export type { TcpForwarderCounters } from "./proxy/forward/tcp_counters.ts";
export type { CaptureCounters } from "./proxy/inbound/counters.ts";
export type { UdpTargetCounters } from "./proxy/target/udp.ts";
export type { IcmpForwarderCounters } from "./proxy/forward/icmp_counters.ts";
export type { TransitCounters } from "./proxy/forward/transit_flows.ts";
export type { UdpForwarderCounters } from "./proxy/forward/udp_counters.ts";
export type { RateStats } from "./proxy/flow/rates.ts";
export type { FlowEnd, FlowProtocol } from "./proxy/flow/flow.ts";
export type { ReloadReport } from "./proxy/gateway/reload.ts";
export type {
  Changes,
  LiveReloadReport,
  SetReport,
  SettingsInput,
} from "./proxy/gateway/live_settings.ts";
export {
  decodeKey,
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "./proxy/base64.ts";
