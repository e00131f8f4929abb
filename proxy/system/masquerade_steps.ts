/**
 * The steps of a masquerade, for this host as it is.
 *
 * @module
 */

import { NftablesError } from "../../ffi/mod.ts";
import { Netlink } from "../../ffi/netlink/mod.ts";
import { ConfigError } from "../config/error.ts";
import { getLogger } from "../log/logger.ts";
import { SystemTunnelError } from "./error.ts";
import type { LinuxHost } from "./host.ts";
import { LiveNetworks } from "./live_networks.ts";
import {
  type MasqueradeSettings,
  type MasqueradeView,
  outletsOf,
  planMasquerade,
} from "./masquerade.ts";
import { masqueradeView, outletView } from "./masquerade_view.ts";
import type { MoreSteps } from "./tunnel.ts";

const log = getLogger(["wirestack", "system"]);

/**
 * Whether there is a way out, before anything is changed.
 *
 * @throws {ConfigError} if there is none.
 */
export function checkWayOut(
  settings: Pick<MasqueradeSettings, "device" | "networks" | "outlet">,
): void {
  using netlink = new Netlink();
  try {
    outletsOf(settings, outletView(netlink));
  } catch (error) {
    if (!(error instanceof SystemTunnelError)) throw error;
    throw new ConfigError([error.message]);
  }
}

/**
 * What stands in the way and is left there is logged.
 *
 * @param sysctl Of a setting that another tunnel has changed: what it was before that one.
 * @throws {SystemTunnelError} if there is no way out.
 */
export function masqueradeSteps(
  host: LinuxHost,
  settings: MasqueradeSettings,
  sysctl: MasqueradeView["sysctl"],
): MoreSteps {
  try {
    const view = { ...masqueradeView(settings.device, host), sysctl };
    const { steps, masquerade, warnings } = planMasquerade(settings, view);
    for (const warning of warnings) log.warn("{problem}", { problem: warning });
    const live = new LiveNetworks({
      masquerade,
      run: (script) => void host.nftables.run(script),
    });
    return {
      steps,
      allowedIpChanged: (prefix, isThere) => live.change(prefix, isThere),
      close: () => live.close(),
    };
  } catch (error) {
    if (!(error instanceof NftablesError)) throw error;
    throw new SystemTunnelError(`--masquerade: ${error.message}`);
  }
}
