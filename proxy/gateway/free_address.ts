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

/** Where new peers' addresses come from: from the pools, for a family that has none from the networks. */
export interface AddressSource {
  /** The interface's own. */
  readonly addresses: readonly NetworkAddress[];
  readonly addressPool: readonly Prefix[];
}

/** `KEY: what is wrong, what was expected`. */
export class NoFreeAddress extends Error {
  override readonly name = "NoFreeAddress";
}

/**
 * One for each family that the tunnel has.
 *
 * @param taken Prefixes of others.
 * @throws {NoFreeAddress} if there is none.
 */
export function newAddresses(
  { addresses, addressPool }: AddressSource,
  taken: readonly Prefix[],
): IpAddress[] {
  const own = addresses.map(({ address }) => Prefix.of(address));
  const others = [...own, ...taken];
  const found: IpAddress[] = [];
  for (const version of [4, 6]) {
    const pools = addressPool.filter((pool) => pool.version === version);
    const key = pools.length > 0 ? "AddressPool" : "Address";
    const networks = (pools.length > 0 ? pools : addresses).filter((network) =>
      network.address.version === version && hasRoom(network)
    );
    if (networks.length === 0) continue;
    const free = networks.map((network) => freeAddress(network, others))
      .find((address) => address !== undefined);
    if (free === undefined) {
      const full = networks.map(({ address, length }) => `${new Prefix(address, length)}`);
      throw new NoFreeAddress(`${key}: no free address is left in ${full.join(", ")}`);
    }
    found.push(free);
  }
  if (found.length > 0) return found;
  throw new NoFreeAddress(
    "Address: has no network with room for a peer, expected one such as 10.9.0.1/24, " +
      "or an AddressPool",
  );
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
