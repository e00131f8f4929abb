/**
 * Network interfaces.
 *
 * @module
 */

import { IpAddress, type IpVersion, Prefix } from "./address.ts";
import type { Link } from "./link.ts";
import type { Nat } from "./nat/nat.ts";
import { PacketQueue } from "./packet_queue.ts";
import { TokenBucket } from "./token_bucket.ts";

/** RFC 791 §3.2: what every host must be able to receive; smaller links are not supported. */
const MIN_MTU = 576;
/** RFC 8200 §5. */
export const MIN_IPV6_MTU = 1280;
/** The largest IPv4 total length. */
const MAX_MTU = 65_535;

/** ICMP errors per second and NIC, and how many at once: Linux's figures. */
const ICMP_ERRORS_PER_SECOND = 1_000;
const ICMP_ERRORS_AT_ONCE = 50;

/** An address of a NIC with the length of the network it is in. */
export interface NicAddress {
  address: IpAddress;
  length: number;
}

/**
 * Is shown packets that came in elsewhere and are delivered on a NIC, which has no link to look at: for
 * captures. It must not throw, nor change the packet, which is borrowed until it returns.
 */
export type DeliveryObserver = (
  buffer: Uint8Array,
  offset: number,
  length: number,
  now: number,
  from: unknown,
) => void;

export interface NicOptions {
  /** For people: logs and statistics. */
  name: string;
  /** Largest IP packet the link takes, bytes, 576 to 65,535; from 1,280 with an IPv6 address. */
  mtu: number;
  link: Link;
  addresses?: readonly NicAddress[];
  /** Packets for any address are delivered here, not only those for its own. */
  promiscuous?: boolean;
  /** Forwarders on this NIC may answer from addresses that are not its own. */
  spoofing?: boolean;
  /** Packets routed to this NIC leave by its link. */
  forwarding?: boolean;
  /**
   * What passes between this NIC and another keeps its TTL or hop limit: the link is a cable, not a
   * hop. What would leave by the NIC that it came in by loses one all the same, or it could circle.
   */
  keepsHopLimit?: boolean;
}

/** A network interface: addresses, flags and the link that carries its packets. */
export class Nic {
  readonly id: number;
  readonly name: string;
  readonly mtu: number;
  /** May be replaced by another with the same buffer, as by a wrapper that captures packets. */
  link: Link;
  readonly addresses: readonly NicAddress[];
  promiscuous: boolean;
  spoofing: boolean;
  forwarding: boolean;
  readonly keepsHopLimit: boolean;
  /** Whether packets that came in here may leave here again. */
  forwardsBack = true;
  /** Where packets that came in here go if no route leads elsewhere: a device that has routes of its own. */
  uplink: Nic | undefined = undefined;
  /** Of packets that came in by another NIC. Fragments are shown as they come. */
  observer: DeliveryObserver | undefined = undefined;
  /** What those behind it appear as to other links: see `Stack.setNat`. */
  nat: Nat | undefined = undefined;
  /** For the stack: packets that wait for the flush. */
  readonly queue = new PacketQueue();
  /** For the stack: limits ICMP errors about what came in here. */
  readonly icmpErrors = new TokenBucket(ICMP_ERRORS_PER_SECOND, ICMP_ERRORS_AT_ONCE);
  readonly #broadcasts: readonly IpAddress[];

  /** @throws {RangeError} for an MTU out of range. Made by `Stack.addNic`. */
  constructor(id: number, options: NicOptions) {
    const { name, mtu, link, addresses = [] } = options;
    const hasIpv6 = addresses.some(({ address }) => address.version === 6);
    const least = hasIpv6 ? MIN_IPV6_MTU : MIN_MTU;
    if (!Number.isInteger(mtu) || mtu < least || mtu > MAX_MTU) {
      throw new RangeError(`the MTU of ${name} must be ${least} to ${MAX_MTU}, got ${mtu}`);
    }
    this.id = id;
    this.name = name;
    this.mtu = mtu;
    this.link = link;
    this.addresses = [...addresses];
    this.promiscuous = options.promiscuous ?? false;
    this.spoofing = options.spoofing ?? false;
    this.forwarding = options.forwarding ?? false;
    this.keepsHopLimit = options.keepsHopLimit ?? false;
    this.#broadcasts = addresses.flatMap(directedBroadcast);
  }

  /** Whether the address at `offset` of a packet is one of this NIC's own. */
  owns(buffer: Uint8Array, offset: number, version: IpVersion): boolean {
    for (let i = 0; i < this.addresses.length; i++) {
      if (this.addresses[i]!.address.matches(buffer, offset, version)) return true;
    }
    return false;
  }

  /** Whether the IPv4 address at `offset` is the broadcast address of one of its networks. */
  isBroadcast(buffer: Uint8Array, offset: number): boolean {
    for (let i = 0; i < this.#broadcasts.length; i++) {
      if (this.#broadcasts[i]!.matches(buffer, offset, 4)) return true;
    }
    return false;
  }

  /**
   * The own address to send from: one in a network that holds `destination`, else the first of the
   * family.
   */
  sourceFor(destination: IpAddress): IpAddress | undefined {
    let first: IpAddress | undefined;
    for (const { address, length } of this.addresses) {
      if (address.version !== destination.version) continue;
      first ??= address;
      if (new Prefix(address, length).contains(destination)) return address;
    }
    return first;
  }

  /** The first own address of a family. */
  firstAddress(version: IpVersion): IpAddress | undefined {
    for (let i = 0; i < this.addresses.length; i++) {
      const { address } = this.addresses[i]!;
      if (address.version === version) return address;
    }
    return undefined;
  }
}

/** RFC 919 §7; none in the two-address networks of RFC 3021 and for single hosts. */
function directedBroadcast({ address, length }: NicAddress): IpAddress[] {
  if (address.version !== 4 || length > 30) return [];
  const bytes = address.bytes.map((byte, i) => {
    const kept = Math.min(8, Math.max(0, length - 8 * i));
    return byte | 0xff >> kept;
  });
  return [new IpAddress(bytes)];
}
