/**
 * Peers' UDP addresses, one object each.
 *
 * @module
 */

import { AF_INET, SOCKADDR_IN6_SIZE, SOCKADDR_IN_SIZE, writeSockaddr } from "../../ffi/mod.ts";
import { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { Bind, BindEndpoint } from "./bind.ts";

/**
 * The address of a peer in the form WireGuard reads, and in those the socket takes; with the address of
 * this host that the peer was heard at, if the socket tells. Heard at another, it has moved: an answer
 * leaves from where it was asked.
 */
export class UdpAddress implements BindEndpoint {
  readonly bind: Bind;
  readonly address: Uint8Array;
  readonly port: number;
  readonly netAddr: Deno.NetAddr;
  /** For a socket that sends in batches: the largest datagram that the kernel cuts for it. */
  segmentLimit = Infinity;
  /** For a socket that can choose: the address of this host to send from, unless it has been lost. */
  source: Uint32Array | undefined;
  readonly #local: Uint32Array | undefined;
  #sockaddr: Uint8Array<ArrayBuffer> | undefined;

  /** @param local The address of this host that it was heard at, as words: 1 or 4. */
  constructor(bind: Bind, ip: IpAddress, netAddr: Deno.NetAddr, local?: Uint32Array) {
    this.bind = bind;
    this.source = this.#local = local;
    this.address = ip.bytes;
    this.port = netAddr.port;
    this.netAddr = netAddr;
  }

  /** Linux's struct sockaddr_in or sockaddr_in6. */
  get sockaddr(): Uint8Array<ArrayBuffer> {
    return this.#sockaddr ??= sockaddrOf(this.address, this.port, this.netAddr.hostname);
  }

  /** The interface of a link-local address. Not part of what makes an address the same. */
  setScope(scope: number): void {
    if (this.sockaddr.length === SOCKADDR_IN6_SIZE) {
      new DataView(this.sockaddr.buffer).setUint32(SCOPE, scope, true);
    }
  }

  /** Heard at this host's address again: it can be sent from. */
  regainSource(): void {
    this.source = this.#local;
  }

  /** The peer's address. */
  toString(): string {
    const ip = new IpAddress(this.address);
    return ip.version === 4 ? `${ip}:${this.port}` : `[${ip}]:${this.port}`;
  }
}

const GENERATION = 2048;
/** Places of the table by socket address. */
const PLACES = 1024;
/** A struct sockaddr_in6, four bytes of nothing, and the address of this host, as `ReceiveRing` has it. */
const WORDS = 12;
const LOCAL = 8;

/**
 * Interns addresses: while one is in use it is the same object, so that `===` tells whether a peer
 * has moved. Bounded, for anybody can send from any address: two generations, the older of which is
 * dropped when the younger is full.
 */
export class EndpointCache {
  /** Whether the socket is of IPv6, to which an IPv4 address is ::ffff:a.b.c.d. */
  readonly #isDualStack: boolean;
  #young = new Map<string, UdpAddress>();
  #old = new Map<string, UdpAddress>();
  #last: UdpAddress | undefined;
  // By hash, the latest of each: no text, no object for a sender that is known.
  readonly #places: (UdpAddress | undefined)[] = new Array<undefined>(PLACES).fill(undefined);
  readonly #words = new Int32Array(PLACES * WORDS);

  readonly #bind: Bind;

  /**
   * @param bind Whose endpoints these are.
   * @param hostname What its socket is bound to.
   */
  constructor(bind: Bind, hostname: string) {
    this.#bind = bind;
    this.#isDualStack = hostname.includes(":");
  }

  /** A cache for a socket bound to `hostname`: this one, if that is of the same family. */
  for(hostname: string): EndpointCache {
    return hostname.includes(":") === this.#isDualStack
      ? this
      : new EndpointCache(this.#bind, hostname);
  }

  /** The sender of a datagram. */
  from(sender: Deno.NetAddr): UdpAddress {
    const last = this.#last;
    if (
      last !== undefined && last.port === sender.port && last.netAddr.hostname === sender.hostname
    ) return last;
    const key = `${sender.hostname} ${sender.port}`;
    return this.#last = this.#find(key) ?? this.#of(sender.hostname, sender.port, key);
  }

  /**
   * The sender of a datagram, as the words of a struct sockaddr_in or sockaddr_in6 from `at` on. The
   * 9th to 12th are the address of this host that heard it; 0 for unknown.
   */
  fromSockaddr(words: Int32Array<ArrayBuffer>, at: number): UdpAddress {
    let hash = 0;
    for (let i = 0; i < WORDS; i++) hash = Math.imul(hash ^ words[at + i]!, 0x9e3779b1);
    const place = (hash ^ hash >>> 15) & (PLACES - 1);
    const known = this.#places[place];
    if (known !== undefined && this.#isAt(place, words, at)) {
      if (known.source === undefined) known.regainSource();
      return known;
    }
    const bytes = new Uint8Array(words.buffer, words.byteOffset + at * 4, WORDS * 4);
    const address = this.#of(
      hostnameOf(bytes),
      bytes[2]! << 8 | bytes[3]!,
      undefined,
      this.#localOf(words, at + LOCAL),
    );
    address.regainSource();
    // Deno tells no scope, the kernel does.
    if (words[at + SCOPE / 4] !== 0) address.setScope(words[at + SCOPE / 4]!);
    this.#places[place] = address;
    this.#words.set(words.subarray(at, at + WORDS), place * WORDS);
    return address;
  }

  /** An address as it is configured: the system chooses what to send from. */
  of(ip: IpAddress, port: number): UdpAddress {
    return this.#of(ip.toString(), port);
  }

  #isAt(place: number, words: Int32Array, at: number): boolean {
    const start = place * WORDS;
    for (let i = 0; i < WORDS; i++) {
      if (this.#words[start + i] !== words[at + i]) return false;
    }
    return true;
  }

  #localOf(words: Int32Array, at: number): Uint32Array | undefined {
    if ((words[at]! | words[at + 1]! | words[at + 2]! | words[at + 3]!) === 0) return undefined;
    return Uint32Array.from(words.subarray(at, at + (this.#isDualStack ? 4 : 1)));
  }

  /** @param alias Another way to write the address, to be found by as well. */
  #of(text: string, port: number, alias?: string, local?: Uint32Array): UdpAddress {
    const ip = ipOf(text);
    const zone = /%.*/.exec(text)?.[0] ?? "";
    const hostname = ip.version === 4 && this.#isDualStack ? `::ffff:${ip}` : `${ip}${zone}`;
    const key = local === undefined ? `${hostname} ${port}` : `${hostname} ${port} ${local}`;
    const address = this.#find(key) ??
      this.#add(key, new UdpAddress(this.#bind, ip, { transport: "udp", hostname, port }, local));
    if (alias !== undefined && alias !== key) this.#add(alias, address);
    return address;
  }

  #find(key: string): UdpAddress | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    return old && this.#add(key, old);
  }

  #add(key: string, address: UdpAddress): UdpAddress {
    if (this.#young.size >= GENERATION) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, address);
    return address;
  }
}

/** What the runtime writes: an address, perhaps with a zone. */
function ipOf(hostname: string): IpAddress {
  const ip = parseIpAddress(hostname.replace(/%.*/, ""));
  return ip?.unmapped() ?? IpAddress.v4(0, 0, 0, 0);
}

/** Where a struct sockaddr_in6 has its scope. */
const SCOPE = 24;

function sockaddrOf(
  address: Uint8Array,
  port: number,
  hostname: string,
): Uint8Array<ArrayBuffer> {
  const isIpv6 = hostname.includes(":");
  const bytes = new Uint8Array(isIpv6 ? SOCKADDR_IN6_SIZE : SOCKADDR_IN_SIZE);
  const isMapped = isIpv6 && address.length === 4;
  const ip = isMapped ? Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address) : address;
  writeSockaddr(bytes, ip, port);
  return bytes;
}

function hostnameOf(sockaddr: Uint8Array): string {
  const is4 = sockaddr[0] === AF_INET;
  return IpAddress.from(sockaddr, is4 ? 4 : 8, is4 ? 4 : 6).toString();
}
