/**
 * The routes of a tunnel that is up, as its peers' allowed IPs change: by a reload, `wg set`, a new peer.
 *
 * @module
 */

import { NetlinkError } from "../../ffi/mod.ts";
import type { Prefix } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import type { LinuxHost } from "./host.ts";
import { routeSteps, type TunnelSettings } from "./plan.ts";

const log = getLogger(["wirestack", "system"]);

export class LiveRoutes {
  readonly #host: LinuxHost;
  readonly #settings: TunnelSettings;
  /** Families whose default route there is. */
  readonly #defaults: ReadonlySet<number>;

  constructor(host: LinuxHost, settings: TunnelSettings) {
    this.#host = host;
    this.#settings = settings;
    this.#defaults = new Set(
      settings.allowedIps.filter(({ length }) => length === 0).map(({ version }) => version),
    );
  }

  /** A prefix has become a peer's, or is nobody's any more. What fails is logged. */
  change(prefix: Prefix, isThere: boolean): void {
    const { table, device } = this.#settings;
    if (table === "auto" && prefix.length === 0) {
      // The rules beside it are made at the start, and stay.
      if (isThere && !this.#defaults.has(prefix.version)) {
        log.warn("{prefix}: a default route takes a restart of {device}", {
          prefix: `${prefix}`,
          device,
        });
      }
      return;
    }
    for (const { title, action } of routeSteps({ ...this.#settings, allowedIps: [prefix] })) {
      try {
        if (isThere) this.#host.perform(title, action);
        else if (action.kind === "route") this.#host.removeRoute(action);
      } catch (error) {
        if (error instanceof NetlinkError && error.code === "ESRCH") continue;
        log.error("{problem}", { problem: (error as Error).message });
      }
    }
  }
}
