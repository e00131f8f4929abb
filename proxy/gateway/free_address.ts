/**
 * An address in the tunnel for a new peer.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";

/** One of the interface's addresses, with the length of the network it is in. */
export interface NetworkAddress {
  readonly address: IpAddress;
  readonly length: number;
}

/** Whether the network has room for others at all. */
export function hasRoom({ address, length }: NetworkAddress): boolean {
  return length < address.bytes.length * 8;
}

/**
 * The lowest unused address of the network: neither the interface's own nor in a prefix of `taken`. A
 * prefix that holds the whole network (of a peer that is the default route) takes none of it.
 *
 * @returns undefined if there is none.
 */
export function freeAddress(
  network: NetworkAddress,
  taken: readonly Prefix[],
): IpAddress | undefined {
  const prefix = new Prefix(network.address, network.length);
  const size = prefix.address.bytes.length;
  const hostBits = BigInt(size * 8 - network.length);
  const base = toNumber(prefix.address);
  const last = base + (1n << hostBits) - 1n;
  // The first is the network's own (RFC 4291 §2.6.1: the routers' anycast address), the last of IPv4
  // its broadcast; a link between two has neither (RFC 3021, RFC 6164).
  const isLink = hostBits === 1n;
  const end = size === 4 && !isLink ? last - 1n : last;
  const ranges = taken
    .filter((other) => other.length > network.length && prefix.contains(other.address))
    .map(rangeOf)
    .concat([rangeOf(new Prefix(network.address, size * 8))])
    .sort((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0);
  let candidate = isLink ? base : base + 1n;
  for (const { first, last } of ranges) {
    if (candidate < first) break;
    if (candidate <= last) candidate = last + 1n;
  }
  return candidate <= end ? fromNumber(candidate, size) : undefined;
}

function rangeOf({ address, length }: Prefix): { first: bigint; last: bigint } {
  const first = toNumber(address);
  return { first, last: first + (1n << BigInt(address.bytes.length * 8 - length)) - 1n };
}

function toNumber({ bytes }: IpAddress): bigint {
  return BigInt(`0x${bytes.toHex()}`);
}

function fromNumber(number: bigint, size: number): IpAddress {
  return new IpAddress(Uint8Array.fromHex(number.toString(16).padStart(size * 2, "0")));
}
