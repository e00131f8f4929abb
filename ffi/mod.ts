/**
 * What is not TypeScript: Linux behind `Deno.dlopen`, and WebAssembly. `tun/` and `netlink/`, which few
 * gateways use, have entrances of their own.
 *
 * @module
 */

export { type Accepted, AcceptSocket } from "./accept.ts";
export { readDescriptor } from "./descriptor.ts";
export { DescriptorWait, tryStreams } from "./descriptor_wait.ts";
export { descriptorLimit } from "./descriptor_limit.ts";
export { environmentNames } from "./environment.ts";
export { LocalAddressProbe } from "./local_address.ts";
export { type KernelAeadKey, Kernels } from "./kernels/kernels.ts";
export { IcmpSocket, icmpUnavailable } from "./icmp.ts";
export { codeOf, Errno, errnoName, keepLibrariesOpen } from "./libc.ts";
export { Nftables, NftablesError } from "./nftables.ts";
export {
  hasNetAdmin,
  hasNetBindService,
  keepNetAdminAlone,
  type PrivilegesOptions,
} from "./privileges.ts";
export {
  AF_INET,
  AF_INET6,
  SOCKADDR_IN6_SIZE,
  SOCKADDR_IN_SIZE,
  writeSockaddr,
} from "./sockaddr.ts";
export { SocketWatch } from "./socket_watch.ts";
export { TcpInfo } from "./tcp_info.ts";
export { TcpQueue } from "./tcp_queue.ts";
export { TcpEvent, TcpSockets } from "./tcp_sockets.ts";
export { openForeign, receiveForeign } from "./transparent.ts";
export { LinuxSystem, SystemCallError } from "./system.ts";
export * from "./udp.ts";
export { ErrorOrigin, ErrorQueue, QUOTED_BYTES } from "./udp_errors.ts";
export { LOCAL, ORIGINAL, type UdpLibc } from "./udp_layout.ts";
export { MESSAGE_BYTES, ReceiveRing } from "./udp_receive.ts";
export { type Destination, SendBatch, type SettledHandler } from "./udp_send.ts";
export { UnixDatagramSocket } from "./unix_datagram.ts";
export { type Deadline, turns } from "./turns.ts";
