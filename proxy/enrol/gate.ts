/**
 * What a token may reach: the hub's service of enrolment, and nothing else. It stands where packets
 * come in, before anything is routed, so no rule and no setting can open it.
 *
 * @module
 */

import {
  type IngressFilter,
  type IpAddress,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_SOURCE,
  type IpVersion,
  PROTOCOL_TCP,
} from "../../netstack/mod.ts";

const IPV4_FRAGMENT = 6;
const IPV4_PROTOCOL = 9;
const IPV6_NEXT_HEADER = 6;
const TCP_DESTINATION_PORT = 2;
const TCP_HEADER_LENGTH = 20;

/** The networks that tokens have their addresses from: 169.254.0.0/16 and fe80::/64. */
const LINK_LOCAL_IPV4 = 0xa9fe;
const LINK_LOCAL_IPV6 = 0xfe80;

export interface GateOptions {
  readonly service: { readonly address: IpAddress; readonly port: number };
  /** A token has tried something else. */
  onRefused(link: IpAddress): void;
}

interface Holder {
  readonly address: IpAddress;
  /** As the stack is told who sends. */
  readonly from: unknown;
}

export class TokenGate implements IngressFilter {
  readonly #options: GateOptions;
  /** By address. */
  readonly #holders = new Map<string, Holder>();

  constructor(options: GateOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#holders.size;
  }

  /** @param from Who alone may use the address, as the stack is told who sends. */
  add(address: IpAddress, from: unknown): void {
    this.#holders.set(address.bytes.toHex(), { address, from });
  }

  delete(address: IpAddress): void {
    this.#holders.delete(address.bytes.toHex());
  }

  /** Of everybody else's packets only two bytes are looked at twice. */
  admits(
    from: unknown,
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: IpVersion,
  ): boolean {
    const isIpv4 = version === 4;
    const destination = offset + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    // Nobody reaches a token's machine either.
    if (this.#holderAt(buffer, destination, isIpv4) !== undefined) return false;
    const holder = this.#holderAt(buffer, offset + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE), isIpv4);
    if (holder === undefined) return true;
    if (holder.from === from && this.#isForService(buffer, offset, length, version)) return true;
    this.#options.onRefused(holder.address);
    return false;
  }

  #holderAt(buffer: Uint8Array, at: number, isIpv4: boolean): Holder | undefined {
    const network = isIpv4 ? LINK_LOCAL_IPV4 : LINK_LOCAL_IPV6;
    if ((buffer[at]! << 8 | buffer[at + 1]!) !== network) return undefined;
    return this.#holders.get(buffer.subarray(at, at + (isIpv4 ? 4 : 16)).toHex());
  }

  /** A whole segment of TCP for it. Fragments and extension headers have no place here. */
  #isForService(
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: IpVersion,
  ): boolean {
    const { address, port } = this.#options.service;
    if (address.version !== version) return false;
    const isIpv4 = version === 4;
    const protocol = buffer[offset + (isIpv4 ? IPV4_PROTOCOL : IPV6_NEXT_HEADER)];
    const header = isIpv4 ? (buffer[offset]! & 0xf) * 4 : IPV6_HEADER_LENGTH;
    if (protocol !== PROTOCOL_TCP || length < header + TCP_HEADER_LENGTH) return false;
    // More fragments, or an offset.
    if (
      isIpv4 &&
      ((buffer[offset + IPV4_FRAGMENT]! << 8 | buffer[offset + IPV4_FRAGMENT + 1]!) & 0x3fff) !== 0
    ) {
      return false;
    }
    const destination = offset + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    const at = offset + header + TCP_DESTINATION_PORT;
    return address.bytes.every((byte, i) => buffer[destination + i] === byte) &&
      (buffer[at]! << 8 | buffer[at + 1]!) === port;
  }
}
