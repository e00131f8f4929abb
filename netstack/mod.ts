/**
 * An IPv4 and IPv6 stack in plain TypeScript: routing, ICMP, reassembly, UDP and TCP, with
 * forwarders that answer for addresses behind a NIC. It does no input or output of its own and has
 * no clock: packets, time and randomness are given to it, so it runs anywhere, also in simulated
 * time.
 *
 * @example Two stacks on one wire
 * ```ts
 * import { IpAddress, type Link, type Nic, Prefix, Stack } from "@wirestack/wirestack/netstack";
 *
 * // A link of one slot that hands each packet to the other side at once.
 * class Wire implements Link {
 *   readonly buffer = new Uint8Array(2048);
 *   deliver: (buffer: Uint8Array, offset: number, length: number, now: number) => void = () => {};
 *   allocate = () => 16;
 *   release = () => {};
 *   transmit(buffer: Uint8Array, offset: number, length: number, now: number): void {
 *     this.deliver(buffer, offset, length, now);
 *   }
 *   forward = () => false;
 * }
 *
 * function host(last: number): { stack: Stack; nic: Nic; wire: Wire } {
 *   const stack = new Stack({ random: (out) => crypto.getRandomValues(out) });
 *   const wire = new Wire();
 *   const address = IpAddress.v4(10, 0, 0, last);
 *   const nic = stack.addNic({ name: "wire", mtu: 1500, link: wire, addresses: [{ address, length: 24 }] });
 *   stack.routes.insert(new Prefix(address, 24), nic);
 *   return { stack, nic, wire };
 * }
 *
 * const a = host(1);
 * const b = host(2);
 * a.wire.deliver = (buffer, offset, length, now) => b.stack.handlePacket(b.nic, buffer, offset, length, now);
 * b.wire.deliver = (buffer, offset, length, now) => a.stack.handlePacket(a.nic, buffer, offset, length, now);
 *
 * const server = b.stack.bindUdp({ port: 7 });
 * server.handler = {
 *   datagram: (_endpoint, source, port, buffer, offset, length, now) => {
 *     server.send(source, port, buffer, offset, length, now);
 *   },
 * };
 * const client = a.stack.bindUdp({});
 * client.handler = {
 *   datagram: (_endpoint, source, port, _buffer, _offset, length) => {
 *     console.log(`${length} bytes from ${source} port ${port}`);
 *   },
 * };
 * client.send(IpAddress.v4(10, 0, 0, 2), 7, new TextEncoder().encode("hello"), 0, 5, 0);
 * b.stack.flush(0); // 5 bytes from 10.0.0.2 port 7
 * ```
 *
 * @module
 */

export { IpAddress, type IpVersion, Prefix } from "./address.ts";
export type { Sum } from "./checksum.ts";
export type { EchoReplyHandler } from "./icmp.ts";
export { IcmpCounters, IpCounters, UdpCounters } from "./counters.ts";
export { copyBytes } from "./bytes.ts";
export { Deadlines, type Timed } from "./deadlines.ts";
export { Roster } from "./roster.ts";
export { writeIcmpChecksum } from "./icmp_error.ts";
export { ECHO_REQUEST, type IcmpErrorKind, icmpErrorKind, V6_ECHO_REQUEST } from "./icmp_types.ts";
export type { EchoFlow, EchoVerdict, IcmpForwarderHandler } from "./echo_flows.ts";
export { IPV4_DESTINATION, IPV4_HEADER_LENGTH, IPV4_SOURCE, writeIpv4Header } from "./ipv4.ts";
export { IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_SOURCE, writeIpv6Header } from "./ipv6.ts";
export { type Link, LINK_HEADROOM, LINK_TAILROOM, type NextHop } from "./link.ts";
export { MemoryBudget, type MemoryBudgetOptions, type MemoryEpisode } from "./memory_budget.ts";
export { Nat } from "./nat/nat.ts";
export { NatCounters } from "./nat/counters.ts";
export type { NatFiltering, NatOptions, NatSettings } from "./nat/settings.ts";
export type { DeliveryObserver, Nic, NicAddress, NicOptions } from "./nic.ts";
export { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from "./protocols.ts";
export type { ReassemblySettings } from "./reassembly.ts";
export type { IngressFilter } from "./ingress.ts";
export type { TransitPolice } from "./police.ts";
export { PrefixTable } from "./prefix_table.ts";
export type { RouteTable } from "./route.ts";
export { Stack, type StackCounters, type StackOptions, type StackResources } from "./stack.ts";
export { TokenBucket } from "./token_bucket.ts";
export { HalfSipHash } from "./siphash.ts";
export {
  type TransitFilter,
  type TransitKind,
  TransitPacket,
  type TransitVerdict,
} from "./transit.ts";
export type { Path, UnreachableKind } from "./transport.ts";
export {
  PortInUseError,
  type UdpEndpoint,
  type UdpEndpointOptions,
  type UdpHandler,
} from "./udp_endpoint.ts";
export type { UdpFlow, UdpForwarderHandler, UdpVerdict } from "./udp_flows.ts";
export { MAX_UDP_DATA_IPV4, MAX_UDP_DATA_IPV6 } from "./udp_header.ts";

export type { TcpCounters } from "./tcp/counters.ts";
export type { RequestPacing } from "./tcp/request_queue.ts";
export type { TcpEndpoint, TcpError, TcpHandler, TcpInfo, TcpState } from "./tcp/endpoint.ts";
export type { TcpForwarderHandler, TcpForwarderRequest, TcpRejection } from "./tcp/forwarder.ts";
export type { MemoryRegion } from "./tcp/ring_memory.ts";
export type { TcpListener, TcpListenerHandler } from "./tcp/listener.ts";
export type { KeepAlive, TcpSettings } from "./tcp/settings.ts";
export type { Tcp, TcpConnectOptions, TcpListenOptions } from "./tcp/tcp.ts";
