/**
 * UDP addresses as the kernel has them: a struct sockaddr_in or sockaddr_in6.
 *
 * @module
 */

import {
  AF_INET,
  type Destination,
  SOCKADDR_IN6_SIZE,
  SOCKADDR_IN_SIZE,
  writeSockaddr,
} from "../../ffi/mod.ts";
import { IpAddress } from "../../netstack/mod.ts";
import type { Endpoint, Sender } from "../../wireguard/mod.ts";
import type { Bind } from "./bind.ts";
import { UdpAddress } from "./udp_address.ts";

/**
 * As `ReceiveRing` gives a sender, in 32-bit words: room for a struct sockaddr_in6, four bytes of
 * padding, and the address of this host that received it, 1 or 4 words, 0 for unknown.
 */
const WORDS = 12;
const LOCAL = 8;
/** The family and port are the first word, the address follows. */
const IPV4_ADDRESS = 1;
const IPV6_ADDRESS = 2;
const SCOPE = 6;

/**
 * A peer's address, with the address of this host that its datagram came to, if the socket tells: the
 * answer is sent from there.
 */
export class SocketAddress extends UdpAddress implements Destination {
  readonly sockaddr: Uint8Array<ArrayBuffer>;
  /** The largest datagram that the kernel cuts for it. */
  segmentLimit = Infinity;
  /** The address of this host to send from, unless the host has it no more. */
  source: Uint32Array | undefined;
  /** What it was made of: undefined if it was configured. */
  readonly #heard: Int32Array | undefined;
  readonly #local: Uint32Array | undefined;

  constructor(
    bind: Bind,
    ip: IpAddress,
    port: number,
    scope: number,
    sockaddr: Uint8Array<ArrayBuffer>,
    heard?: Int32Array,
  ) {
    super(bind, ip, port, scope);
    this.sockaddr = sockaddr;
    this.#heard = heard;
    this.source = this.#local = heard && localOf(heard, sockaddr.length === SOCKADDR_IN6_SIZE);
  }

  /**
   * An address as it is configured: the system chooses what to send from.
   *
   * @param isDualStack Whether the socket is of IPv6, to which an IPv4 address is ::ffff:a.b.c.d.
   */
  static of(
    bind: Bind,
    ip: IpAddress,
    port: number,
    scope: number,
    isDualStack: boolean,
  ): SocketAddress {
    // Of IPv6 to an IPv4 socket: the kernel refuses it, which is counted.
    const isIpv6 = isDualStack || ip.version === 6;
    const sockaddr = new Uint8Array(isIpv6 ? SOCKADDR_IN6_SIZE : SOCKADDR_IN_SIZE);
    const isMapped = isDualStack && ip.version === 4;
    writeSockaddr(sockaddr, isMapped ? mapped(ip.bytes) : ip.bytes, port);
    if (isIpv6) new DataView(sockaddr.buffer).setUint32(SCOPE * 4, scope, true);
    return new SocketAddress(bind, ip, port, scope, sockaddr);
  }

  /** Whether it was made of the same words. If so, it can be sent from where it was heard. */
  isHeardAgain(words: Int32Array, at: number): boolean {
    const heard = this.#heard;
    if (heard === undefined || heard[0] !== words[at] || heard[LOCAL] !== words[at + LOCAL]) {
      return false;
    }
    if (this.sockaddr.length === SOCKADDR_IN_SIZE) {
      if (heard[IPV4_ADDRESS] !== words[at + IPV4_ADDRESS]) return false;
    } else { // all but the flow label
      for (let i = IPV6_ADDRESS; i < WORDS; i++) {
        if (heard[i] !== words[at + i]) return false;
      }
    }
    this.source ??= this.#local;
    return true;
  }
}

/** Stands for the sender of one datagram after another. */
export class SocketSender implements Sender {
  /** Where the words of the sender start. */
  at: number;
  readonly #bind: Bind;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #bytes: Uint8Array<ArrayBuffer>;

  /** @param words As of `ReceiveRing.senders`. */
  constructor(bind: Bind, words: Int32Array<ArrayBuffer>, at: number) {
    this.#bind = bind;
    this.#words = words;
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset);
    this.at = at;
  }

  get port(): number {
    const at = this.at * 4;
    return this.#bytes[at + 2]! << 8 | this.#bytes[at + 3]!;
  }

  readAddress(out: Uint8Array): number {
    const length = this.#isIpv4 ? 4 : 16;
    const start = (this.at + (length === 4 ? IPV4_ADDRESS : IPV6_ADDRESS)) * 4;
    for (let i = 0; i < length; i++) out[i] = this.#bytes[start + i]!;
    return length;
  }

  isAt(endpoint: Endpoint): boolean {
    return endpoint instanceof SocketAddress && endpoint.bind === this.#bind &&
      endpoint.isHeardAgain(this.#words, this.at);
  }

  toEndpoint(): SocketAddress {
    const isIpv4 = this.#isIpv4;
    const heard = this.#words.slice(this.at, this.at + WORDS);
    const size = isIpv4 ? SOCKADDR_IN_SIZE : SOCKADDR_IN6_SIZE;
    const sockaddr = new Uint8Array(heard.buffer.slice(0, size));
    const ip = isIpv4 ? IpAddress.from(sockaddr, 4, 4) : IpAddress.from(sockaddr, 8, 6);
    const scope = isIpv4 ? 0 : heard[SCOPE]!;
    return new SocketAddress(this.#bind, ip, this.port, scope, sockaddr, heard);
  }

  copy(): SocketSender {
    return new SocketSender(this.#bind, this.#words.slice(this.at, this.at + WORDS), 0);
  }

  get #isIpv4(): boolean {
    return this.#bytes[this.at * 4] === AF_INET;
  }
}

/** The address of this host that heard the datagram, if the kernel told it. */
function localOf(heard: Int32Array, isIpv6: boolean): Uint32Array | undefined {
  const local = Uint32Array.from(heard.subarray(LOCAL, LOCAL + (isIpv6 ? 4 : 1)));
  return local.some((word) => word !== 0) ? local : undefined;
}

/** ::ffff:a.b.c.d */
function mapped(ipv4: Uint8Array): Uint8Array {
  return Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...ipv4);
}
