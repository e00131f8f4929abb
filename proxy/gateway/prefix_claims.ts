/**
 * Which peers list a prefix. Allowed IPs have one holder each, so where several list the same somebody
 * has to choose; the others stay on record, for when that one is gone.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import type { PeerConfig } from "../config/checked.ts";

/** A peer that is configured, and how it stands to others that list the same prefix. */
export interface Claimant {
  readonly config: PeerConfig;
  /** Of where it comes from: the lower counts. */
  readonly rank: number;
  /** Its place among those of the same rank. */
  readonly index: number;
}

/**
 * Who is to hold a prefix.
 *
 * @param claimants By rank, then by place; one or more.
 */
export type ChooseHolder = (prefix: Prefix, claimants: readonly Claimant[]) => Claimant;

/** The last of the lowest rank: what `wg` does with a file. */
export function lastOfLowestRank(_prefix: Prefix, claimants: readonly Claimant[]): Claimant {
  const { rank } = claimants[0]!;
  return claimants.findLast((claimant) => claimant.rank === rank)!;
}

export class PrefixClaims {
  /** By prefix as text. Those of one alone, which are nearly all, are not in a list. */
  readonly #claims = new Map<string, Claimant | Claimant[]>();

  add(claimant: Claimant): void {
    for (const prefix of new Set(claimant.config.allowedIps.map(String))) {
      const known = this.#claims.get(prefix);
      if (known === undefined) {
        this.#claims.set(prefix, claimant);
        continue;
      }
      const all = Array.isArray(known) ? known : [known];
      const at = all.findIndex(({ rank, index }) =>
        rank > claimant.rank || rank === claimant.rank && index > claimant.index
      );
      all.splice(at < 0 ? all.length : at, 0, claimant);
      this.#claims.set(prefix, all);
    }
  }

  remove(claimant: Claimant): void {
    for (const prefix of new Set(claimant.config.allowedIps.map(String))) {
      const known = this.#claims.get(prefix);
      if (known === claimant) this.#claims.delete(prefix);
      if (!Array.isArray(known)) continue;
      const left = known.filter((one) => one !== claimant);
      if (left.length > 1) this.#claims.set(prefix, left);
      else this.#claims.set(prefix, left[0]!);
    }
  }

  /** By rank, then by place. */
  of(prefix: Prefix): readonly Claimant[] {
    const known = this.#claims.get(`${prefix}`);
    if (known === undefined) return [];
    return Array.isArray(known) ? known : [known];
  }

  /** The prefixes that more than one lists, and by whom. */
  *shared(): Iterable<readonly [Prefix, readonly Claimant[]]> {
    for (const [text, claim] of this.#claims) {
      if (!Array.isArray(claim)) continue;
      yield [claim[0]!.config.allowedIps.find((prefix) => `${prefix}` === text)!, claim];
    }
  }
}
