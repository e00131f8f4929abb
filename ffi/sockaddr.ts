/**
 * Linux's socket addresses, <netinet/in.h>: uint16 family, uint16 port in network order; then of a
 * struct sockaddr_in 4 bytes of address, of a sockaddr_in6 uint32 flow label, 16 bytes, uint32 scope.
 *
 * @module
 */

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCKADDR_IN_SIZE = 16;
export const SOCKADDR_IN6_SIZE = 28;

/**
 * Makes `into` the socket address of an IP address and port; what is not part of these is zero.
 *
 * @param into Of {@link SOCKADDR_IN_SIZE} bytes at least, {@link SOCKADDR_IN6_SIZE} for IPv6.
 * @param address 4 or 16 bytes.
 * @returns how many bytes it has.
 */
export function writeSockaddr(into: Uint8Array, address: Uint8Array, port: number): number {
  const isIpv4 = address.length === 4;
  into.fill(0);
  into[0] = isIpv4 ? AF_INET : AF_INET6; // little-endian, as x86-64 and ARM64 are
  into[2] = port >> 8;
  into[3] = port;
  into.set(address, isIpv4 ? 4 : 8);
  return isIpv4 ? SOCKADDR_IN_SIZE : SOCKADDR_IN6_SIZE;
}
