/**
 * Who gets out by a masquerade, as peers' allowed IPs change: by a reload, `wg set`, a list, a new peer.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { type Masquerade, networksScript } from "./masquerade_script.ts";
import { type PrefixChange, PrefixChanges } from "./prefix_changes.ts";

const log = getLogger(["wirestack", "system"]);

export interface LiveNetworksOptions {
  /** What was done. */
  readonly masquerade: Masquerade;
  /** Runs a script of nft's language. @throws {Error} if it cannot be. */
  run(script: string): void;
}

export class LiveNetworks {
  readonly #options: LiveNetworksOptions;
  /** Those of the configuration, by their text: they stay, whoever has them. */
  readonly #configured: ReadonlySet<string>;
  /** All others that there are, by their text. */
  readonly #later = new Map<string, Prefix>();
  readonly #changes = new PrefixChanges((changed) => this.#apply(changed));

  constructor(options: LiveNetworksOptions) {
    this.#options = options;
    this.#configured = new Set(options.masquerade.networks.map(String));
  }

  /**
   * A prefix has become a peer's, or is nobody's any more. Done when all of a change is known: a list of
   * thousands is one script, and what goes from one peer to another is none. What fails is logged, and
   * done with the next change.
   */
  change(prefix: Prefix, isThere: boolean): void {
    this.#changes.add(prefix, isThere);
  }

  /** Nothing is changed any more: the table may be gone. */
  close(): void {
    this.#changes.close();
  }

  #apply(changed: ReadonlyMap<string, PrefixChange>): void {
    let isDifferent = false;
    for (const [text, { prefix, isThere }] of changed) {
      if (this.#later.has(text) === isThere || this.#isConfigured(text, prefix)) continue;
      if (isThere) this.#later.set(text, prefix);
      else this.#later.delete(text);
      isDifferent = true;
    }
    if (isDifferent) this.#run();
  }

  #isConfigured(text: string, prefix: Prefix): boolean {
    return prefix.length === 0 || this.#configured.has(text) ||
      this.#options.masquerade.networks.some((network) => network.covers(prefix));
  }

  #run(): void {
    const { masquerade, run } = this.#options;
    const networks = [...masquerade.networks, ...this.#later.values()];
    try {
      run(networksScript({ ...masquerade, networks }));
    } catch (error) {
      log.error("{problem}", { problem: `--masquerade: ${(error as Error).message}` });
    }
  }
}
