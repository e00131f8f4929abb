/**
 * The subnets that are proxied, and which protocols of each.
 *
 * @module
 */

import { type IpAddress, type Prefix, PrefixTable } from "../../netstack/mod.ts";

/** Which protocols of a subnet are proxied. */
export interface Protocols {
  /** Connections. */
  readonly tcp: boolean;
  /** Sessions. */
  readonly udp: boolean;
  /** Pings. */
  readonly icmp: boolean;
}

interface Subnet {
  readonly prefix: Prefix;
  readonly protocols: Protocols;
}

export class ProxiedSubnets {
  /** By their text. */
  readonly #subnets = new Map<string, Subnet>();
  readonly #table = new PrefixTable<Subnet>();

  /** One that is there already gets other protocols. */
  add(prefixes: readonly Prefix[], protocols: Protocols): void {
    for (const prefix of prefixes) {
      const subnet = { prefix, protocols };
      this.#subnets.set(`${prefix}`, subnet);
      this.#table.insert(prefix.address.bytes, prefix.length, subnet);
    }
  }

  remove(prefixes: readonly Prefix[]): void {
    for (const prefix of prefixes) {
      this.#subnets.delete(`${prefix}`);
      this.#table.remove(prefix.address.bytes, prefix.length);
    }
  }

  /** The protocols of the longest that an address is in. Allocates nothing. */
  find({ bytes, version }: IpAddress): Protocols | undefined {
    return this.#table.lookup(bytes, 0, version)?.protocols;
  }

  /** The longest prefix first. */
  list(): Subnet[] {
    return [...this.#subnets.values()].sort((a, b) => b.prefix.length - a.prefix.length);
  }

  /** Those that are not among others. */
  without(others: readonly Prefix[]): Prefix[] {
    const names = new Set(others.map(String));
    return Array.from(this.#subnets).filter(([name]) => !names.has(name))
      .map(([, { prefix }]) => prefix);
  }
}
