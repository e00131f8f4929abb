/**
 * What handshakes are counted and limited by: the address they come from.
 *
 * @module
 */

import { isIpv4Mapped, type Sender } from "./endpoint.ts";

/** An address and port. An IPv4-mapped IPv6 address counts as the IPv4 one, whichever socket heard it. */
export interface SourceAddress {
  /** 4 or 16 bytes, network order. */
  readonly address: Uint8Array;
  readonly port: number;
}

/** Holds the address of one sender at a time. */
export class Source implements SourceAddress {
  address: Uint8Array;
  port = 0;
  readonly #ipv4: Uint8Array;
  readonly #ipv6 = new Uint8Array(16);

  constructor() {
    this.address = this.#ipv4 = this.#ipv6.subarray(0, 4);
  }

  /** @returns this, until the next call. */
  read(sender: Sender): this {
    this.address = sender.readAddress(this.#ipv6) === 4 ? this.#ipv4 : this.#ipv6;
    this.port = sender.port;
    return this;
  }
}

/** Where the significant bytes of an address start: at 12 in an IPv4-mapped one. */
export function addressStart(address: Uint8Array): number {
  return isIpv4Mapped(address) ? 12 : 0;
}

/**
 * The key of a source in a map: an IPv4 address, mapped or not, as a number; of an IPv6 address the
 * upper 64 bits as a string, because one host can choose the rest.
 */
export function sourceKey(address: Uint8Array): number | string {
  const start = addressStart(address);
  if (address.length - start === 4) {
    return address[start]! << 24 | address[start + 1]! << 16 | address[start + 2]! << 8 |
      address[start + 3]!;
  }
  return String.fromCharCode(...address.subarray(0, 8));
}
