/**
 * What the parts of a gateway count, and what they have in use, as plain values.
 *
 * @module
 */

import type { UdpBind, UdpBindCounters } from "../bind/udp.ts";
import type { Engine, EngineCounters } from "../engine/engine.ts";
import type { SubnetProxy } from "../forward/subnet_proxy.ts";
import type { IcmpForwarderCounters } from "../forward/icmp_counters.ts";
import type { TransitCounters } from "../forward/transit_flows.ts";
import type { CaptureCounters } from "../inbound/counters.ts";
import type { GatewayInbounds } from "./inbounds.ts";
import type { TcpForwarderCounters } from "../forward/tcp_counters.ts";
import type { UdpForwarderCounters } from "../forward/udp_counters.ts";
import type {
  IcmpCounters,
  IpCounters,
  NatCounters,
  StackResources,
  TcpCounters,
  UdpCounters,
} from "../../netstack/mod.ts";
import type { DeviceCounters } from "../../wireguard/mod.ts";

/** Totals since the start, by where and by reason. */
export interface GatewayCounters {
  /** The loop around everything; `noSlot`: packets out for which no buffer was free. */
  readonly engine: Readonly<EngineCounters> & { readonly noSlot: number };
  /** WireGuard's datagrams outside. */
  readonly bind: Readonly<UdpBindCounters>;
  /** Handshakes and sessions, and why packets were dropped. */
  readonly wireguard: Readonly<DeviceCounters>;
  /** Packets inside the tunnel. */
  readonly ip: Readonly<IpCounters>;
  /** ICMP and ICMPv6 inside the tunnel. */
  readonly icmp: Readonly<IcmpCounters>;
  /** UDP inside the tunnel. */
  readonly udp: Readonly<UdpCounters>;
  /** TCP inside the tunnel. */
  readonly tcp: Readonly<TcpCounters>;
  /** Connections of peers to targets; the bytes are those of connections that have ended. */
  readonly tcpForwarder: Readonly<TcpForwarderCounters>;
  /** UDP sessions of peers with targets. */
  readonly udpForwarder: Readonly<UdpForwarderCounters>;
  /** Connections of this host's programs into the tunnel, by inbounds; as {@link tcpForwarder}. */
  readonly inboundTcp: Readonly<TcpForwarderCounters>;
  /** UDP of this host's programs, as {@link udpForwarder}. */
  readonly inboundUdp: Readonly<UdpForwarderCounters>;
  /** What came to an inbound and is no connection or datagram for the tunnel. */
  readonly inbound: Readonly<CaptureCounters>;
  /** What is passed on from peer to peer. */
  readonly transit: Readonly<TransitCounters>;
  /** NATs between links, all together. */
  readonly nat: Readonly<NatCounters>;
  /** Pings of peers to targets. */
  readonly icmpForwarder: Readonly<IcmpForwarderCounters>;
  /** Sockets of this host, and names. */
  readonly target: TargetCounters;
}

/** What happened between this host and targets. */
export interface TargetCounters {
  /** No socket could be opened for lack of a descriptor. */
  readonly outOfDescriptors: number;
  /** Addresses that a name was resolved to, and that no peer may reach. */
  readonly refusedAddresses: number;
  /** Connections that were made to be ready. */
  readonly warmOpened: number;
  /** Of those, given to a client. */
  readonly warmUsed: number;
  /** Of those, closed by the target, or spoken on, before a client came. */
  readonly warmSpoilt: number;
}

/** What is in use now. All zero when everything has ended. */
export interface ResourceStats extends Readonly<StackResources> {
  /** Forwarded connections, those being dialled included. */
  readonly tcpRelays: number;
  /** Connections to targets being made. */
  readonly tcpDials: number;
  /** UDP ports of clients. */
  readonly udpSessions: number;
  /** Connections, sessions and pings between peers. */
  readonly transitFlows: number;
  /** Identifiers of clients' pings. */
  readonly pingSessions: number;
  /** Connections to targets that are ready, and nobody's yet. */
  readonly warmConnections: number;
  /** Buffers of packets on their way out. */
  readonly slotsInUse: number;
}

/** The parts of a gateway that count. */
interface Counting {
  readonly engine: Engine;
  readonly udp: UdpBind;
  readonly proxy: SubnetProxy;
  readonly inbounds: GatewayInbounds;
}

export function gatewayCounters(
  { engine, udp: socket, proxy, inbounds }: Counting,
): GatewayCounters {
  const { device, stack, link } = engine;
  const { tcp, udp, icmp, descriptors, targets } = proxy;
  return {
    engine: { ...engine.counters, noSlot: link.noSlot },
    bind: { ...socket.counters },
    wireguard: { ...device.counters },
    ip: { ...stack.counters.ip },
    icmp: { ...stack.counters.icmp },
    udp: { ...stack.counters.udp },
    tcp: { ...stack.counters.tcp },
    tcpForwarder: { ...tcp.counters },
    udpForwarder: { ...udp.counters },
    inboundTcp: { ...inbounds.counters.tcp },
    inboundUdp: { ...inbounds.counters.udp },
    inbound: { ...inbounds.counters.capture },
    transit: { ...proxy.transit.counters },
    nat: { ...stack.natCounters() },
    icmpForwarder: { ...icmp.counters },
    target: {
      outOfDescriptors: descriptors.failures,
      refusedAddresses: targets.refusedAddresses,
      warmOpened: targets.warm.counters.opened,
      warmUsed: targets.warm.counters.used,
      warmSpoilt: targets.warm.counters.spoilt,
    },
  };
}

export function resourceStats({ engine, proxy }: Omit<Counting, "inbounds">): ResourceStats {
  const { stack, pool } = engine;
  const { tcp, udp, icmp, targets } = proxy;
  return {
    ...stack.resources(),
    tcpRelays: tcp.size,
    tcpDials: tcp.dials,
    udpSessions: udp.size,
    transitFlows: proxy.transit.size,
    pingSessions: icmp.size,
    warmConnections: targets.warm.size,
    slotsInUse: pool.slots - pool.free,
  };
}
