/**
 * A UDP socket whose datagrams go in batches, by `recvmmsg` and `sendmmsg`. Deno opens it, for that is
 * what asks for its permission, and knows nothing of it from then on: it neither waits for it nor is
 * woken by it. Needs Linux and `--allow-ffi`, and no privilege.
 *
 * @module
 */

import { Errno, errorOf, openLibc } from "./libc.ts";
import { AF_INET, AF_INET6 } from "./sockaddr.ts";
import { SO_MARK, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET } from "./socket.ts";
import { IP_RECVERR, IPV6_RECVERR } from "./udp_errors.ts";
import {
  IP_PKTINFO,
  IP_TTL,
  IPV6_RECVPKTINFO,
  IPV6_UNICAST_HOPS,
  SOL_IP,
  SOL_IPV6,
  SOL_UDP,
  UDP_CALLS,
  UDP_GRO,
  UDP_SEGMENT,
  type UdpLibc,
} from "./udp_layout.ts";

// <asm-generic/socket.h>
const SO_TYPE = 3;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const POLLOUT = 0x4;
// <bits/fcntl-linux.h>
const F_DUPFD_CLOEXEC = 1030;

const BUFFER_BYTES = 4 << 20;
/** Descriptors that are searched if the socket did not get the expected one. */
const MAX_DESCRIPTORS = 65_536;

/** @returns why there are no batches on this system, or undefined if there are. */
export function udpUnavailable(): string | undefined {
  const { os, arch } = Deno.build;
  if (os !== "linux" || arch !== "x86_64" && arch !== "aarch64") {
    return `needs Linux on x86-64 or ARM64, this is ${os} on ${arch}`;
  }
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    return "needs the permission --allow-ffi";
  }
  try {
    openUdpLibc().close();
    return undefined;
  } catch (error) {
    return `needs the GNU C library (${(error as Error).message})`;
  }
}

/** @throws {Error} if there is none; {@link udpUnavailable} says why. */
export function openUdpLibc(): UdpLibc {
  return openLibc(UDP_CALLS);
}

export interface UdpSocketOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  /** Bytes of the kernel's buffers; the kernel may give less. Default 4 MiB. */
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
}

/** The calls of {@link openUdpLibc} stay the caller's, and open until the socket is closed. */
export class UdpSocket {
  /** Where it is bound. */
  readonly address: Deno.NetAddr;
  /** What the kernel gave, in bytes as it accounts for them, twice what is asked for. */
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
  /** For `recvmmsg` and `sendmmsg`, non-blocking. Not to be used after {@link close}. */
  readonly fd: number;
  /** Whether the kernel can coalesce what it receives, and cut what is sent. */
  readonly hasGro: boolean;
  readonly hasGso: boolean;
  readonly #libc: UdpLibc;
  readonly #option = new Int32Array(32);
  /** Struct pollfd: int fd, short events, short revents. More than 64 bytes are never moved. */
  readonly #pollOut = new Int32Array(32);
  #isClosed = false;

  /**
   * @throws {Deno.errors.AddrInUse} and what else `Deno.listenDatagram` throws; an `Error` with the system's
   * `code`, if that gives no descriptor: it takes two until it is made.
   */
  constructor(libc: UdpLibc, options: UdpSocketOptions) {
    const { hostname, port, receiveBuffer = BUFFER_BYTES, sendBuffer = BUFFER_BYTES } = options;
    this.#libc = libc;
    // A new file gets the lowest free descriptor: `dup` shows which the socket is about to get.
    const lowest = libc.symbols.dup(0);
    if (lowest >= 0) libc.symbols.close(lowest);
    const conn = Deno.listenDatagram({ transport: "udp", hostname, port });
    try {
      this.address = conn.addr as Deno.NetAddr;
      this.fd = this.#take(this.#find(lowest));
    } finally {
      conn.close();
    }
    this.receiveBuffer = this.#setBuffer(SO_RCVBUF, SO_RCVBUFFORCE, receiveBuffer);
    this.sendBuffer = this.#setBuffer(SO_SNDBUF, SO_SNDBUFFORCE, sendBuffer);
    this.hasGro = this.#set(SOL_UDP, UDP_GRO, 1) && this.#set(SOL_UDP, UDP_GRO, 0);
    this.hasGso = this.#set(SOL_UDP, UDP_SEGMENT, 0); // 0 is "no default", and known since Linux 4.18
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Waits for room in the socket's buffer, on a thread of the runtime's. One at a time, and over before the
   * library is closed.
   *
   * @returns false if there was none within `limitMs`, or the socket is closed.
   */
  async writable(limitMs: number): Promise<boolean> {
    if (this.#isClosed) return false;
    this.#pollOut.set([this.fd, POLLOUT]);
    return await this.#libc.symbols.wait(this.#pollOut, 1n, limitMs) !== 0;
  }

  /**
   * Has the kernel coalesce datagrams of one sender, destination and size into one message (GRO). Only
   * `recvmmsg` tells where to cut it. It cannot be switched off again: messages coalesced already would
   * still arrive, without saying where to cut them.
   */
  coalesce(): void {
    if (this.hasGro) this.#set(SOL_UDP, UDP_GRO, 1);
  }

  /** Has the kernel tell which of the host's addresses each datagram was sent to. */
  tellLocal(): void {
    if (this.address.hostname.includes(":")) this.#set(SOL_IPV6, IPV6_RECVPKTINFO, 1);
    else this.#set(SOL_IP, IP_PKTINFO, 1);
  }

  /**
   * Has the kernel keep what the network reports about datagrams sent, for an `ErrorQueue`. Until it
   * is taken from there a report makes one call on the socket fail. No datagram is lost by that.
   */
  reportErrors(): void {
    const isIpv6 = this.address.hostname.includes(":");
    if (isIpv6) this.#set(SOL_IPV6, IPV6_RECVERR, 1);
    else this.#set(SOL_IP, IP_RECVERR, 1);
  }

  /**
   * Marks what is sent, for the system's routing rules (wg-quick's `FwMark`). Needs CAP_NET_ADMIN.
   *
   * @param mark 32 bits; 0 for none.
   * @throws {Deno.errors.PermissionDenied} if this user may not.
   */
  setMark(mark: number): void {
    if (this.#set(SOL_SOCKET, SO_MARK, mark)) return;
    const errno = this.#libc.errno();
    const message = `the mark ${mark} cannot be set: errno ${errno}`;
    if (errno === Errno.EPERM) {
      throw new Deno.errors.PermissionDenied(`${message}, needs CAP_NET_ADMIN`);
    }
    throw new Error(message);
  }

  /** Of datagrams sent from now on. @param hopLimit 1 to 255. */
  setHopLimit(hopLimit: number): void {
    if (this.address.hostname.includes(":")) this.#set(SOL_IPV6, IPV6_UNICAST_HOPS, hopLimit);
    else this.#set(SOL_IP, IP_TTL, hopLimit);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#libc.symbols.close(this.fd);
  }

  /** @returns a descriptor of this object's own, for that of Deno's. */
  #take(fd: number): number {
    const own = this.#libc.symbols.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) throw errorOf(this.#libc.errno(), "no descriptor for a socket");
    return own;
  }

  /** The descriptor of the socket that Deno opened, which Deno does not expose. */
  #find(likely: number): number {
    if (likely >= 0 && this.#isOurs(likely)) return likely;
    // Another thread was quicker.
    const found: number[] = [];
    for (let fd = 0; fd < MAX_DESCRIPTORS; fd++) if (this.#isOurs(fd)) found.push(fd);
    if (found.length === 1) return found[0]!;
    throw new Error(`the descriptor of UDP port ${this.address.port} cannot be told`);
  }

  #isOurs(fd: number): boolean {
    const bytes = new Uint8Array(128);
    const length = new Uint32Array(32);
    length[0] = bytes.length;
    const { symbols } = this.#libc;
    if (symbols.getsockname(fd, bytes, length) !== 0) return false;
    const family = bytes[0]! | bytes[1]! << 8;
    return family === (this.address.hostname.includes(":") ? AF_INET6 : AF_INET) &&
      (bytes[2]! << 8 | bytes[3]!) === this.address.port &&
      this.#get(fd, SOL_SOCKET, SO_TYPE) === SOCK_DGRAM;
  }

  /** Past the system's limit if this user may, else up to it. @returns what was got */
  #setBuffer(option: number, force: number, bytes: number): number {
    if (!this.#set(SOL_SOCKET, force, bytes)) this.#set(SOL_SOCKET, option, bytes);
    return this.#get(this.fd, SOL_SOCKET, option);
  }

  #set(level: number, option: number, value: number): boolean {
    if (this.#isClosed) return false; // the descriptor may be another's
    this.#option[0] = value;
    return this.#libc.symbols.setsockopt(this.fd, level, option, this.#option, 4) === 0;
  }

  #get(fd: number, level: number, option: number): number {
    const length = new Uint32Array(32);
    length[0] = 4;
    const { symbols } = this.#libc;
    return symbols.getsockopt(fd, level, option, this.#option, length) === 0 ? this.#option[0]! : 0;
  }
}
