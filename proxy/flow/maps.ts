/**
 * Maps: which address is dialled instead of a flow's destination.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";

/** Addresses in `from` are dialled at the same place in `to`: both have as many host bits. */
export interface AddressMap {
  readonly from: Prefix;
  readonly to: Prefix;
}

export class AddressMaps {
  #maps: readonly AddressMap[];

  /** @param maps The longest `from` first. */
  constructor(maps: readonly AddressMap[]) {
    this.#maps = maps;
  }

  set(maps: readonly AddressMap[]): void {
    this.#maps = maps;
  }

  /** The map that `address` falls under. */
  find(address: IpAddress): AddressMap | undefined {
    for (const map of this.#maps) if (map.from.contains(address)) return map;
    return undefined;
  }

  /** The destinations that may lead to `target`, maps first, then itself. The caller checks which does. */
  *sources(target: IpAddress): Iterable<IpAddress> {
    for (const { from, to } of this.#maps) {
      if (to.contains(target)) yield translate(target, to, from);
    }
    yield target;
  }
}

/** Where `map` leads `address`, in the form that is dialled. */
export function mapAddress(address: IpAddress, { from, to }: AddressMap): IpAddress {
  return dialledAs(translate(address, from, to));
}

/**
 * Whether a map may lead to an address of this host: it names that address alone, or nothing but
 * loopback. A wider one would expose the host by accident.
 */
export function namesOwnHost({ to }: AddressMap): boolean {
  if (isSingle(to)) return true;
  return LOOPBACK_IPV4.contains(to.address) && to.length >= LOOPBACK_IPV4.length;
}

/** Whether a prefix is one address. */
export function isSingle({ address, length }: Prefix): boolean {
  return length === address.bytes.length * 8;
}

/** Linux takes 0.0.0.0 and :: for loopback, and an IPv4-mapped address for IPv4. */
export function dialledAs(address: IpAddress): IpAddress {
  const plain = address.unmapped();
  if (!plain.isUnspecified) return plain;
  return plain.version === 4 ? LOCALHOST_IPV4 : LOCALHOST_IPV6;
}

/** `prefix` with the last bits of `address` behind its length. */
export function inPrefix(prefix: Prefix, address: IpAddress): IpAddress {
  const bits = address.bytes.length * 8;
  const length = Math.max(0, bits - (prefix.address.bytes.length * 8 - prefix.length));
  return translate(address, new Prefix(address, length), prefix);
}

/** The address in `to` at the place that `address` has in `from`. */
function translate(address: IpAddress, from: Prefix, to: Prefix): IpAddress {
  const bytes = to.address.bytes.slice();
  const hostBits = address.bytes.length * 8 - from.length;
  for (let i = 1; i <= Math.ceil(hostBits / 8); i++) {
    const bits = Math.min(8, hostBits - 8 * (i - 1));
    bytes[bytes.length - i]! |= address.bytes[address.bytes.length - i]! & ((1 << bits) - 1);
  }
  return new IpAddress(bytes);
}

const LOCALHOST_IPV4 = IpAddress.v4(127, 0, 0, 1);
const LOCALHOST_IPV6 = new IpAddress(Uint8Array.fromHex("00000000000000000000000000000001"));
const LOOPBACK_IPV4 = new Prefix(IpAddress.v4(127, 0, 0, 0), 8);
