/**
 * The list of peers of a gateway, which a reload may begin to watch, change or end.
 *
 * @module
 */

import { encodeKey, isSameKey } from "../../base64.ts";
import type { PeerListConfig } from "../../config/checked.ts";
import { shownPlace } from "../../config/peer_list_values.ts";
import { getLogger } from "../../log/logger.ts";
import { noRefusals, type PeerListOptions, type PeerListStats, PeerListWatch } from "./watch.ts";

const log = getLogger(["wirestack", "config"]);

export class WatchedList {
  readonly #options: Omit<PeerListOptions, "config" | "known" | "refused">;
  readonly #refused = noRefusals();
  #config: PeerListConfig | undefined;
  #watch: PeerListWatch | undefined;
  /** The list is at another place, or there is none any more. Default: nobody is told. */
  onPlaceChanged = (): void => {};

  constructor(options: Omit<PeerListOptions, "config" | "known" | "refused">) {
    this.#options = options;
  }

  /** What is watched; undefined for none. */
  get config(): PeerListConfig | undefined {
    return this.#config;
  }

  /** Undefined if none is watched. */
  stats(): PeerListStats | undefined {
    return this.#watch?.stats();
  }

  /**
   * Makes it what a configuration says; when it says the same, the list is looked at. Peers of the list
   * stay where the same key signs; without one, or with another key, they are removed at once.
   *
   * @returns when a list of an earlier run, or of a file, has been read.
   */
  async apply(config: PeerListConfig | undefined): Promise<void> {
    const before = this.#config;
    if (textOf(before) === textOf(config)) {
      this.#watch?.refresh();
      return;
    }
    const isSameSigner = before !== undefined && config !== undefined &&
      isSameKey(before.key, config.key);
    const known = isSameSigner ? this.#watch?.known : undefined;
    this.close();
    this.#config = config;
    this.onPlaceChanged();
    if (config === undefined) {
      const { removed } = this.#options.sources.replace("list", []);
      log.info("peer list {place}: watched no more, {removed} peers removed", {
        place: shownPlace(before!.place),
        removed,
      });
      return;
    }
    this.#watch = new PeerListWatch({ ...this.#options, config, known, refused: this.#refused });
    await this.#watch.open();
  }

  /** The same while the gateway runs: how it went is told by the log. */
  change(config: PeerListConfig | undefined): void {
    this.apply(config).catch((error) =>
      log.error("peer list {place}: a defect: {error}", {
        place: config && shownPlace(config.place),
        error,
      })
    );
  }

  close(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }
}

function textOf(config: PeerListConfig | undefined): string {
  return JSON.stringify(config && { ...config, key: encodeKey(config.key) });
}
