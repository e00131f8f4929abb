/**
 * A peer's UDP address, whichever kind of socket sends to it.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Bind, BindEndpoint } from "./bind.ts";

export abstract class UdpAddress implements BindEndpoint {
  readonly bind: Bind;
  /** 4 or 16 bytes; never IPv4-mapped. */
  readonly address: Uint8Array;
  readonly port: number;
  /** The interface of a link-local address, where the socket tells it; else 0. */
  readonly scope: number;

  constructor(bind: Bind, ip: IpAddress, port: number, scope: number) {
    this.bind = bind;
    this.address = ip.unmapped().bytes;
    this.port = port;
    this.scope = scope;
  }

  toString(): string {
    const ip = new IpAddress(this.address);
    return ip.version === 4 ? `${ip}:${this.port}` : `[${ip}]:${this.port}`;
  }
}
