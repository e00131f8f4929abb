/**
 * Unprivileged ICMP sockets: pings without root (icmp(7), ping_group_range). The kernel gives each
 * one identifier, its own, computes checksums, and hands up the replies to it alone.
 *
 * @module
 */

import { Errno } from "./libc.ts";
import { AF_INET, AF_INET6 } from "./sockaddr.ts";
import { SO_RCVBUF, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET } from "./socket.ts";
import { openUdpLibc, udpUnavailable } from "./udp.ts";
import { IP_RECVERR, IPV6_RECVERR } from "./udp_errors.ts";
import {
  IP_RECVTTL,
  IP_TTL,
  IPV6_RECVHOPLIMIT,
  IPV6_UNICAST_HOPS,
  SOL_IP,
  SOL_IPV6,
  type UdpLibc,
} from "./udp_layout.ts";

// <netinet/in.h>
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;
const IP_PMTUDISC_DO = 2;

/** What the kernel may queue for one socket, bytes: a few pings of the largest size. */
const RECEIVE_BUFFER = 512 << 10;

/** A socket could not be opened. */
export class IcmpSocketError extends Error {
  /** As `node:net` has it, for want of a descriptor; else undefined. */
  readonly code: string | undefined;
  readonly errno: number;

  constructor(errno: number) {
    super(`no ICMP socket: errno ${errno}`);
    this.errno = errno;
    this.code = errno === Errno.EMFILE ? "EMFILE" : errno === Errno.ENFILE ? "ENFILE" : undefined;
  }
}

/**
 * @returns what is missing for this process to ping, in words that follow "needs", or undefined if it
 * can, be it by one family alone.
 */
export function icmpUnavailable(): string | undefined {
  const missing = udpUnavailable();
  if (missing !== undefined) return missing.replace(/^needs /, "");
  const libc = openUdpLibc();
  try {
    let reason: string | undefined;
    for (const version of [4, 6] as const) {
      try {
        new IcmpSocket(libc, version).close();
        return undefined;
      } catch (error) {
        reason ??= reasonOf((error as IcmpSocketError).errno);
      }
    }
    return reason;
  } finally {
    libc.close();
  }
}

function reasonOf(errno: number): string {
  if (errno === Errno.EACCES) {
    return "net.ipv4.ping_group_range to include a group of this process: " +
      'sysctl -w net.ipv4.ping_group_range="0 2147483647" lets all, IPv6 too';
  }
  if (errno === Errno.EAFNOSUPPORT || errno === Errno.EPROTONOSUPPORT) {
    return "a kernel with ICMP sockets";
  }
  return `an ICMP socket, which the system does not give (errno ${errno})`;
}

/** The calls of `openUdpLibc` stay the caller's, and open until the socket is closed. */
export class IcmpSocket {
  /** For `recvmmsg` and `sendmmsg`, non-blocking. Not to be used after {@link close}. */
  readonly fd: number;
  readonly #libc: UdpLibc;
  readonly #isIpv4: boolean;
  readonly #option = new Int32Array(32);
  #hopLimit = 0;
  #dontFragment: boolean | undefined;
  #isClosed = false;

  /**
   * It tells the hop limit of what it receives, and keeps what the network reports for an `ErrorQueue`.
   *
   * @throws {IcmpSocketError} if the system gives none; {@link icmpUnavailable} says why.
   */
  constructor(libc: UdpLibc, version: 4 | 6) {
    this.#libc = libc;
    this.#isIpv4 = version === 4;
    this.fd = libc.symbols.socket(
      this.#isIpv4 ? AF_INET : AF_INET6,
      SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
      this.#isIpv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
    );
    if (this.fd < 0) throw new IcmpSocketError(libc.errno());
    this.#set(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    if (this.#isIpv4) {
      this.#set(SOL_IP, IP_RECVERR, 1);
      this.#set(SOL_IP, IP_RECVTTL, 1);
    } else {
      this.#set(SOL_IPV6, IPV6_RECVERR, 1);
      this.#set(SOL_IPV6, IPV6_RECVHOPLIMIT, 1);
    }
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether {@link setHeader} with these values changes nothing. */
  hasHeader(hopLimit: number, dontFragment: boolean): boolean {
    return this.#hopLimit === hopLimit && (!this.#isIpv4 || this.#dontFragment === dontFragment);
  }

  /**
   * What the IP header of messages sent from now on has.
   *
   * @param hopLimit 1 to 255.
   * @param dontFragment Of IPv4: neither this host nor a router cuts them. Of IPv6 this host always may.
   */
  setHeader(hopLimit: number, dontFragment: boolean): void {
    if (this.#isIpv4) {
      if (this.#hopLimit !== hopLimit) this.#set(SOL_IP, IP_TTL, hopLimit);
      if (this.#dontFragment !== dontFragment) {
        this.#set(SOL_IP, IP_MTU_DISCOVER, dontFragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
      }
    } else if (this.#hopLimit !== hopLimit) this.#set(SOL_IPV6, IPV6_UNICAST_HOPS, hopLimit);
    this.#hopLimit = hopLimit;
    this.#dontFragment = dontFragment;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#libc.symbols.close(this.fd);
  }

  #set(level: number, option: number, value: number): void {
    this.#option[0] = value;
    this.#libc.symbols.setsockopt(this.fd, level, option, this.#option, 4);
  }
}
