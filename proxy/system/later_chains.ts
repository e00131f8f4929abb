/**
 * Other people's chains that drop what is forwarded, and come when a masquerade is there already: Docker or
 * a firewall that starts later than the tunnel.
 *
 * @module
 */

import { closedForwardChains, type ForeignChain } from "./foreign_chains.ts";

export interface LaterChainsOptions {
  /** The tunnel's. */
  readonly device: string;
  /** Those that were found at the start. */
  readonly known: readonly ForeignChain[];
  /** What nft lists of chains, which is little, or of all rules, as JSON. @throws {Error} if it does not. */
  list(what: "chains" | "ruleset"): string;
}

export class LaterChains {
  readonly #options: LaterChainsOptions;
  /** Those that drop by their policy, opened or not, by {@link nameOf}: as they were last seen. */
  #closed: ReadonlySet<string>;
  /** Those that drop by their last rule, which takes all rules to see. */
  readonly #ended: Set<string>;

  /** @throws {Error} if nft lists nothing. */
  constructor(options: LaterChainsOptions) {
    const { known } = options;
    this.#options = options;
    this.#closed = this.#listed();
    this.#ended = new Set(known.filter(({ why }) => why === "its last rule").map(nameOf));
  }

  /**
   * Looks for chains that drop by their policy and were not there before; one that is made again is as new.
   * All rules are looked at only then.
   *
   * @returns those that let nothing through for the tunnel.
   * @throws {Error} if nft lists nothing.
   */
  look(): ForeignChain[] {
    const { list, device } = this.#options;
    const before = this.#closed;
    const closed = this.#listed();
    this.#closed = closed;
    if ([...closed].every((name) => before.has(name))) return [];
    const found = closedForwardChains(list("ruleset"), device).filter((chain) =>
      !before.has(nameOf(chain)) && !this.#ended.has(nameOf(chain))
    );
    for (const chain of found) if (chain.why === "its last rule") this.#ended.add(nameOf(chain));
    return found;
  }

  #listed(): ReadonlySet<string> {
    const { list, device } = this.#options;
    return new Set(closedForwardChains(list("chains"), device).map(nameOf));
  }
}

function nameOf({ family, table, chain }: ForeignChain): string {
  return `${family} ${table} ${chain}`;
}
