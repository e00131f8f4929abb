/**
 * Which NIC leads to an address.
 *
 * @module
 */

import type { IpAddress, IpVersion, Prefix } from "./address.ts";
import type { Nic } from "./nic.ts";
import { PrefixTable } from "./prefix_table.ts";

/** NICs by prefix: the longest that matches decides. */
export class RouteTable {
  readonly #table = new PrefixTable<Nic>();
  /** Changes with every change, so that what was looked up can be kept until then. */
  generation = 0;

  /** Adds a route, or turns the one for the same prefix to another NIC. */
  insert(prefix: Prefix, nic: Nic): void {
    this.#table.insert(prefix.address.bytes, prefix.length, nic);
    this.generation++;
  }

  /** Where the route for this very prefix leads, if there is one. */
  get(prefix: Prefix): Nic | undefined {
    return this.#table.get(prefix.address.bytes, prefix.length);
  }

  /** @returns Whether there was such a route to `nic`. */
  remove(prefix: Prefix, nic: Nic): boolean {
    const { bytes } = prefix.address;
    if (this.#table.get(bytes, prefix.length) !== nic) return false;
    this.#table.remove(bytes, prefix.length);
    this.generation++;
    return true;
  }

  /** Removes every route to `nic`. */
  removeNic(nic: Nic): void {
    this.#table.removeValue(nic);
    this.generation++;
  }

  /** The NIC for the address at `offset` of a packet. */
  lookup(buffer: Uint8Array, offset: number, version: IpVersion): Nic | undefined {
    return this.#table.lookup(buffer, offset, version);
  }

  lookupAddress(address: IpAddress): Nic | undefined {
    return this.lookup(address.bytes, 0, address.version);
  }
}
