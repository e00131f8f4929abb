/**
 * UDP addresses as Deno's sockets have them: text and a number.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Endpoint, Sender } from "../../wireguard/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { Bind } from "./bind.ts";
import { UdpAddress } from "./udp_address.ts";

export class NetAddress extends UdpAddress {
  readonly netAddr: Deno.NetAddr;

  constructor(bind: Bind, netAddr: Deno.NetAddr) {
    super(bind, ipOf(netAddr.hostname), netAddr.port, 0);
    this.netAddr = netAddr;
  }

  /**
   * An address as it is configured.
   *
   * @param isDualStack Whether the socket is of IPv6, to which an IPv4 address is ::ffff:a.b.c.d.
   */
  static of(bind: Bind, ip: IpAddress, port: number, isDualStack: boolean): NetAddress {
    const hostname = ip.version === 4 && isDualStack ? `::ffff:${ip}` : `${ip}`;
    return new NetAddress(bind, { transport: "udp", hostname, port });
  }
}

/** Stands for the sender of one datagram after another. */
export class NetSender implements Sender {
  /** As the runtime tells it. */
  from: Deno.NetAddr;
  readonly #bind: Bind;
  /** The host name parsed last: the source of a handshake message is read several times. */
  #parsed: { readonly hostname: string; readonly bytes: Uint8Array } | undefined;

  constructor(bind: Bind, from: Deno.NetAddr) {
    this.#bind = bind;
    this.from = from;
  }

  get port(): number {
    return this.from.port;
  }

  readAddress(out: Uint8Array): number {
    const { hostname } = this.from;
    if (this.#parsed?.hostname !== hostname) {
      this.#parsed = { hostname, bytes: ipOf(hostname).bytes };
    }
    const { bytes } = this.#parsed!;
    out.set(bytes);
    return bytes.length;
  }

  isAt(endpoint: Endpoint): boolean {
    if (!(endpoint instanceof NetAddress) || endpoint.bind !== this.#bind) return false;
    const { port, hostname } = endpoint.netAddr;
    return port === this.from.port && hostname === this.from.hostname;
  }

  toEndpoint(): NetAddress {
    return new NetAddress(this.#bind, this.from);
  }

  copy(): NetSender {
    return new NetSender(this.#bind, this.from);
  }
}

/** Of what the runtime writes: an address, perhaps with a zone. */
function ipOf(hostname: string): IpAddress {
  return mappedOf(hostname) ?? parseIpAddress(hostname.replace(/%.*/, ""))?.unmapped() ??
    IpAddress.v4(0, 0, 0, 0);
}

/** An IPv4 address, plain or mapped: nearly all there are, in a tenth of the parser's time. */
function mappedOf(hostname: string): IpAddress | undefined {
  const match = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(hostname);
  return match === null
    ? undefined
    : IpAddress.v4(Number(match[1]), Number(match[2]), Number(match[3]), Number(match[4]));
}
