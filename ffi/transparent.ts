/**
 * UDP sockets with addresses of others (IP_TRANSPARENT of Linux): one that is given datagrams on their
 * way elsewhere, by TPROXY, and ones that answer in the name of where those were sent. Needs
 * CAP_NET_ADMIN, on the calling thread.
 *
 * @module
 */

import { AF_INET, AF_INET6, writeSockaddr } from "./sockaddr.ts";
import {
  SO_MARK,
  SO_RCVBUF,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "./socket.ts";
import { SystemCallError } from "./system.ts";
import { IP_ORIGDSTADDR, IPV6_ORIGDSTADDR, SOL_IP, SOL_IPV6, type UdpLibc } from "./udp_layout.ts";

// <linux/in.h>, <linux/in6.h>
const IP_TRANSPARENT = 19;
/** The option has the number of what it brings. */
const IP_RECVORIGDSTADDR = IP_ORIGDSTADDR;
const IPV6_RECVORIGDSTADDR = IPV6_ORIGDSTADDR;
const IPV6_TRANSPARENT = 75;
const IPV6_V6ONLY = 26;

/**
 * Has a UDP socket, bound to every address, given datagrams on their way elsewhere, and told where: see
 * `ReceiveRing.senders`.
 *
 * @throws {SystemCallError}
 */
export function receiveForeign(libc: UdpLibc, fd: number, isDualStack: boolean): void {
  set(libc, fd, SOL_IP, IP_TRANSPARENT, 1);
  set(libc, fd, SOL_IP, IP_RECVORIGDSTADDR, 1);
  if (!isDualStack) return;
  set(libc, fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
  set(libc, fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1);
}

/**
 * Opens a socket that sends from an address and port of another host's. What is sent to it goes to whoever
 * else listens: it receives nothing.
 *
 * @param address 4 or 16 bytes.
 * @param mark Of what it sends.
 * @returns its descriptor, non-blocking, which is the caller's.
 * @throws {SystemCallError} EADDRINUSE where a program of this host has that port on all addresses;
 * EACCES for ports below 1024 without CAP_NET_BIND_SERVICE.
 */
export function openForeign(
  libc: UdpLibc,
  address: Uint8Array,
  port: number,
  mark: number,
): number {
  const { symbols } = libc;
  const isIpv4 = address.length === 4;
  const fd = symbols.socket(
    isIpv4 ? AF_INET : AF_INET6,
    SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
    0,
  );
  if (fd < 0) throw new SystemCallError("no UDP socket", libc.errno());
  try {
    if (isIpv4) set(libc, fd, SOL_IP, IP_TRANSPARENT, 1);
    else {
      set(libc, fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
      set(libc, fd, SOL_IPV6, IPV6_V6ONLY, 1);
    }
    set(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(libc, fd, SOL_SOCKET, SO_MARK, mark);
    // The least there is: nothing is read from it.
    set(libc, fd, SOL_SOCKET, SO_RCVBUF, 0);
    const sockaddr = new Uint8Array(128);
    const size = writeSockaddr(sockaddr, address, port);
    if (symbols.bind(fd, sockaddr, size) !== 0) {
      throw new SystemCallError(`UDP port ${port} of another host`, libc.errno());
    }
    return fd;
  } catch (error) {
    symbols.close(fd);
    throw error;
  }
}

function set(libc: UdpLibc, fd: number, level: number, option: number, value: number): void {
  const bytes = new Int32Array(32);
  bytes[0] = value;
  if (libc.symbols.setsockopt(fd, level, option, bytes, 4) === 0) return;
  throw new SystemCallError(`socket option ${option} of level ${level}`, libc.errno());
}
