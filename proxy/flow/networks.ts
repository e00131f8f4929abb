/**
 * Figures by network of targets, /24 or /64: those where most happens each for itself, the rest in one
 * sum, so that a scan of every network there is costs no more than one.
 *
 * @module
 */

import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import { Totals } from "./totals.ts";

/** Networks that have figures of their own, at most. */
export const MAX_NETWORKS = 1_024;

/** Of one network. */
export class NetworkTotals extends Totals {
  /** Undefined for the rest. */
  readonly prefix: Prefix | undefined;
  /** Not among those with figures of their own any more: where its flows count now. */
  into: NetworkTotals | undefined = undefined;
  /** Bytes, what is long ago for less. */
  score = 0;
  /** Bytes that are in the score. */
  scored = 0;

  constructor(prefix: Prefix | undefined) {
    super();
    this.prefix = prefix;
  }
}

export class NetworkTable {
  /** What the networks without figures of their own did. */
  readonly rest = new NetworkTotals(undefined);
  readonly #networks = new Map<number | string, NetworkTotals>();
  readonly #most: number;

  constructor(most: number = MAX_NETWORKS) {
    this.#most = most;
  }

  get size(): number {
    return this.#networks.size;
  }

  /** Those with figures of their own, in no order. */
  networks(): Iterable<NetworkTotals> {
    return this.#networks.values();
  }

  /** The figures of the network that `address` is in. */
  of(address: IpAddress): NetworkTotals {
    const key = networkKey(address);
    let network = this.#networks.get(key);
    if (network === undefined) {
      if (this.#networks.size >= this.#most) this.#forget();
      network = new NetworkTotals(new Prefix(address, address.version === 4 ? 24 : 64));
      this.#networks.set(key, network);
    }
    return network;
  }

  /**
   * Those a quarter with the least score go into the rest: many at once, so that looking for them costs
   * each newcomer little.
   */
  #forget(): void {
    const all = [...this.#networks].map(([key, network]) => {
      const bytes = network.bytesUp + network.bytesDown;
      network.score = network.score / 2 + bytes - network.scored;
      network.scored = bytes;
      return { key, network };
    });
    all.sort((a, b) => a.network.score - b.network.score);
    for (const { key, network } of all.slice(0, Math.max(1, this.#most >> 2))) {
      this.#networks.delete(key);
      network.into = this.rest;
      this.rest.add(network);
    }
  }
}

/** The same for every address of a /24 or /64. */
export function networkKey({ bytes, version }: IpAddress): number | string {
  if (version === 6) return bytes.subarray(0, 8).toHex();
  return bytes[0]! << 16 | bytes[1]! << 8 | bytes[2]!;
}
