/**
 * Statistics of a gateway. Plain values: they can go to a log or through JSON.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import { socketAddress } from "../address.ts";
import { encodeKey } from "../base64.ts";
import type { UdpBind } from "../bind/udp.ts";
import type { ProxiedSubnet, SubnetProxy } from "../forward/subnet_proxy.ts";
import type { Flow, FlowOwner } from "../flow/flow.ts";
import type { FlowTable } from "../flow/table.ts";
import type { Peer } from "../../wireguard/mod.ts";
import type { PeerSources } from "./peer_sources.ts";
import type { PeerListStats } from "./peer_list/watch.ts";
import type { WatchedList } from "./peer_list/watched_list.ts";
import type { Twins } from "./twins/twins.ts";
import type { TunnelPeers } from "./peers.ts";
import {
  type GatewayCounters,
  gatewayCounters,
  type ResourceStats,
  resourceStats,
} from "./stats_counters.ts";
import type { GatewayInbounds } from "./inbounds.ts";
import type { GatewayLinks } from "./links.ts";
import { type FlowsStats, flowsStats } from "./stats_flows.ts";
import type { PeerStats } from "./stats_peers.ts";
import { type DeviceStats, deviceStats, type LinkStats } from "./stats_links.ts";
import type { EngineLink } from "../engine/link_port.ts";

/** A forwarded TCP connection as it is now. */
export interface ConnectionStats {
  /** `ADDRESS:PORT` inside the tunnel. */
  readonly client: string;
  /** The client's destination. */
  readonly target: string;
  /** What was dialled, when a rule or a map made another of it; a name until it is connected. */
  readonly dialled: string;
  /** `dialling`, or the state of the client's side. */
  readonly state: string;
  /** Since the client's SYN. */
  readonly ageMs: number;
  /** Towards the target, and towards the client. */
  readonly bytesUp: number;
  /** As {@link bytesUp}. */
  readonly bytesDown: number;
  /** Smoothed round trip to the client; 0 before the first. */
  readonly rttMs: number;
  /** Segments towards the client that were sent again. */
  readonly retransmits: number;
}

/** A gateway as it is now. */
export interface GatewayStats {
  /** Since it was started. */
  readonly uptimeMs: number;
  /** Bound UDP port. */
  readonly port: number;
  /** Null when the private key was taken away. */
  readonly publicKey: string | null;
  /** All of them. */
  readonly peers: readonly PeerStats[];
  /** The list of peers that is watched; null without one. */
  readonly peerList: PeerListStats | null;
  /** Beside WireGuard. */
  readonly links: readonly LinkStats[];
  /** Of a whole-system tunnel; null without one. */
  readonly device: DeviceStats | null;
  /** What is proxied, the longest prefix first. */
  readonly subnets: readonly ProxiedSubnet[];
  /** Forwarded connections, the first hundred. */
  readonly connections: readonly ConnectionStats[];
  /** What connections, UDP sessions and pings through the proxy did. */
  readonly flows: FlowsStats;
  /** Totals since the start, by where and by reason. */
  readonly counters: GatewayCounters;
  /** What is in use now. All zero when everything has ended. */
  readonly resources: ResourceStats;
  /** Of this process, bytes. */
  readonly memory: MemoryStats;
}

/** Bytes. */
export interface MemoryStats {
  /** Resident, of the whole process. */
  readonly rss: number;
  /** Of JavaScript's objects. */
  readonly heapUsed: number;
  /** Of buffers outside of the heap. */
  readonly external: number;
  /** What the buffers of connections hold. */
  readonly buffers: number;
  /** The most that they may. */
  readonly maxBuffers: number;
}

/** The same, and peers are looked at as they are asked for. */
export type StatsInSteps = Omit<GatewayStats, "peers"> & {
  readonly peers: Generator<PeerStats, void, undefined>;
};

const MAX_CONNECTIONS = 100;

/** The parts of a gateway that statistics are taken from. */
interface Running {
  readonly engine: Engine;
  readonly udp: UdpBind;
  readonly proxy: SubnetProxy;
  readonly inbounds: GatewayInbounds;
  readonly peers: TunnelPeers;
  readonly peerSources: PeerSources;
  readonly peerList: Pick<WatchedList, "stats">;
  readonly twins: Twins | undefined;
  readonly links: GatewayLinks;
  readonly device: EngineLink | undefined;
  ownerOf(peer: Peer): FlowOwner;
}

/** @param peers What stands for the peers among them. */
export function gatewayStats<P>(
  gateway: Running,
  startedAt: number,
  peers: P,
): Omit<GatewayStats, "peers"> & { readonly peers: P } {
  const { engine, udp: socket, proxy } = gateway;
  const now = engine.now();
  const { device, stack } = engine;
  const { admission, statistics } = proxy;
  const { rss, heapUsed, external } = Deno.memoryUsage();
  return {
    uptimeMs: Math.round(now - startedAt),
    port: socket.port,
    publicKey: gateway.peers.privateKey === undefined ? null : encodeKey(device.publicKey),
    peers,
    peerList: gateway.peerList.stats() ?? null,
    links: gateway.links.stats(),
    device: gateway.device ? deviceStats(gateway.device) : null,
    subnets: proxy.subnets(),
    connections: [...take(connections(admission.table), MAX_CONNECTIONS)]
      .map((flow) => connectionStats(flow, now)),
    flows: flowsStats(statistics, admission.rules.rules, now),
    counters: gatewayCounters(gateway),
    resources: resourceStats(gateway),
    memory: {
      rss,
      heapUsed,
      external,
      buffers: stack.memory.used,
      maxBuffers: stack.memory.total,
    },
  };
}

function* connections(table: FlowTable): Iterable<Flow> {
  for (const flow of table.live) if (flow.protocol === "tcp") yield flow;
}

function connectionStats(flow: Flow, now: number): ConnectionStats {
  const { state, rttMs, retransmits } = flow.carrier!.inspect(flow);
  return {
    client: socketAddress(flow.source, flow.sourcePort),
    target: socketAddress(flow.destination, flow.destinationPort),
    dialled: flow.dialled === undefined
      ? `${flow.dialledName}:${flow.dialledPort}`
      : socketAddress(flow.dialled, flow.dialledPort),
    state,
    ageMs: now - flow.startedAt,
    bytesUp: flow.bytesUp,
    bytesDown: flow.bytesDown,
    rttMs,
    retransmits,
  };
}

function* take<T>(items: Iterable<T>, count: number): Iterable<T> {
  for (const item of items) {
    if (count-- <= 0) return;
    yield item;
  }
}
