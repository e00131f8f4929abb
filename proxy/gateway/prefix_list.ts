/**
 * Prefixes that are asked what others have to do with them: quickly, since there may be thousands of
 * both.
 *
 * @module
 */

import { IpAddress, type Prefix, PrefixTable } from "../../netstack/mod.ts";

export class PrefixList {
  readonly #table = new PrefixTable<true>();
  /** Their first addresses, by family and in order. */
  readonly #addresses: Readonly<Record<4 | 6, readonly string[]>>;
  readonly #isAll: boolean;

  /** @param prefixes Undefined: all there are. */
  constructor(prefixes: readonly Prefix[] | undefined) {
    this.#isAll = prefixes === undefined;
    const list = prefixes ?? [];
    for (const { address, length } of list) this.#table.insert(address.bytes, length, true);
    const inOrder = (version: 4 | 6) =>
      list.filter((prefix) => prefix.version === version)
        .map(({ address }) => address.bytes.toHex()).sort();
    this.#addresses = { 4: inOrder(4), 6: inOrder(6) };
  }

  /** Whether one of them contains all of `prefix`. Several that do so together are not found. */
  covers({ address, length }: Prefix): boolean {
    if (this.#isAll) return true;
    for (let bits = length; bits >= 0; bits--) {
      if (this.#table.get(address.bytes, bits)) return true;
    }
    return false;
  }

  /** Whether `prefix` and one of them have an address in common. */
  overlaps(prefix: Prefix): boolean {
    if (this.covers(prefix)) return true;
    // One inside it begins with its first address, or later.
    const addresses = this.#addresses[prefix.version];
    const first = prefix.address.bytes.toHex();
    let [low, high] = [0, addresses.length];
    while (low < high) {
      const middle = low + high >> 1;
      if (addresses[middle]! < first) low = middle + 1;
      else high = middle;
    }
    return low < addresses.length &&
      prefix.contains(new IpAddress(Uint8Array.fromHex(addresses[low]!)));
  }
}

/** The same addresses in fewer prefixes: those that another covers are left out. For a few of them. */
export function outermost(prefixes: readonly Prefix[]): Prefix[] {
  return prefixes.filter((prefix, i) =>
    !prefixes.some((other, j) =>
      i !== j && other.covers(prefix) && (other.length < prefix.length || j < i)
    )
  );
}
