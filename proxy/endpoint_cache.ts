/**
 * Peers' UDP addresses, one object each.
 *
 * @module
 */

import { IpAddress } from "../netstack/mod.ts";
import type { Endpoint } from "../wireguard/mod.ts";
import { parseIpAddress } from "./address.ts";

/** The address of a peer in the form WireGuard reads, and in the form the socket takes. */
export class UdpAddress implements Endpoint {
  readonly address: Uint8Array;
  readonly port: number;
  readonly netAddr: Deno.NetAddr;

  constructor(ip: IpAddress, netAddr: Deno.NetAddr) {
    this.address = ip.bytes;
    this.port = netAddr.port;
    this.netAddr = netAddr;
  }

  toString(): string {
    const ip = new IpAddress(this.address);
    return ip.version === 4 ? `${ip}:${this.port}` : `[${ip}]:${this.port}`;
  }
}

const GENERATION = 2048;

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

  constructor(isDualStack: boolean) {
    this.#isDualStack = isDualStack;
  }

  /** The sender of a datagram. */
  from(sender: Deno.NetAddr): UdpAddress {
    const last = this.#last;
    if (
      last !== undefined && last.port === sender.port && last.netAddr.hostname === sender.hostname
    ) return last;
    const key = `${sender.hostname} ${sender.port}`;
    return this.#last = this.#find(key) ??
      this.#add(key, new UdpAddress(ipOf(sender.hostname), sender));
  }

  of(ip: IpAddress, port: number): UdpAddress {
    const hostname = ip.version === 4 && this.#isDualStack ? `::ffff:${ip}` : ip.toString();
    const key = `${hostname} ${port}`;
    return this.#find(key) ??
      this.#add(key, new UdpAddress(ip.unmapped(), { transport: "udp", hostname, port }));
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
