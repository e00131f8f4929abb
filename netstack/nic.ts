import type { IpAddress, IpVersion } from "./address.ts";
import type { Link } from "./link.ts";

export interface NicAddress {
  readonly address: IpAddress;
  /** Bits of the on-link prefix. */
  readonly length: number;
}

export interface NicOptions {
  name: string;
  /** Largest IP packet, bytes. */
  mtu: number;
  link: Link;
  addresses?: readonly NicAddress[];
  /** Delivers packets for any destination that is routed here, as if it owned the address. */
  promiscuous?: boolean;
  /** May send from any source address. */
  spoofing?: boolean;
  /** Passes routed packets on to its link. */
  forwarding?: boolean;
}

/** A network interface of the stack. */
export class Nic {
  readonly id: number;
  readonly name: string;
  readonly mtu: number;
  readonly link: Link;
  addresses: readonly NicAddress[];
  promiscuous: boolean;
  spoofing: boolean;
  forwarding: boolean;

  constructor(id: number, options: NicOptions) {
    this.id = id;
    this.name = options.name;
    this.mtu = options.mtu;
    this.link = options.link;
    this.addresses = options.addresses ?? [];
    this.promiscuous = options.promiscuous ?? false;
    this.spoofing = options.spoofing ?? false;
    this.forwarding = options.forwarding ?? false;
  }

  /** Whether the address at `offset` of a packet is one of this NIC's own. */
  owns(buffer: Uint8Array, offset: number, version: IpVersion): boolean {
    const addresses = this.addresses;
    for (let i = 0; i < addresses.length; i++) {
      if (addresses[i]!.address.matches(buffer, offset, version)) return true;
    }
    return false;
  }

  /** The first own address of a family. */
  address(version: IpVersion): IpAddress | undefined {
    return this.addresses.find(({ address }) => address.version === version)?.address;
  }
}
