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
import { LaterChains } from "./later_chains.ts";
import { LiveNetworks } from "./live_networks.ts";
import {
  closedWarning,
  type MasqueradeSettings,
  type MasqueradeView,
  openingStep,
  outletsOf,
  planMasquerade,
  standsInTheWay,
} from "./masquerade.ts";
import type { Outlets } from "./masquerade_script.ts";
import { masqueradeView, outletView } from "./masquerade_view.ts";
import type { Step } from "./step.ts";
import type { MoreSteps } from "./tunnel.ts";

const log = getLogger(["wirestack", "system"]);

/** How often other people's chains are looked at, ms. */
const LOOK_MS = 30_000;

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
 * @param does Does a step later, as those that are returned are done.
 * @throws {SystemTunnelError} if there is no way out.
 */
export function masqueradeSteps(
  host: LinuxHost,
  settings: MasqueradeSettings,
  sysctl: MasqueradeView["sysctl"],
  does: (step: Step) => void,
): MoreSteps {
  try {
    const view = { ...masqueradeView(settings.device, host), sysctl };
    const { steps, masquerade, warnings } = planMasquerade(settings, view);
    for (const warning of warnings) log.warn("{problem}", { problem: warning });
    const live = new LiveNetworks({
      masquerade,
      run: (script) => void host.nftables.run(script),
    });
    const later = new LaterChains({
      device: settings.device,
      known: view.closedChains,
      list: (what) => host.nftables.run(`list ${what}`, { json: true }),
    });
    const { outlets } = masquerade;
    const open = new Set(steps.map(({ title }) => title));
    const timer = setInterval(() => lookAgain(later, settings, outlets, open, host, does), LOOK_MS);
    return {
      steps,
      allowedIpChanged: (prefix, isThere) => live.change(prefix, isThere),
      close() {
        clearInterval(timer);
        live.close();
      },
    };
  } catch (error) {
    if (!(error instanceof NftablesError)) throw error;
    throw new SystemTunnelError(`--masquerade: ${error.message}`);
  }
}

/**
 * What has come since is named, or opened as it would have been at the start.
 *
 * @param done Titles of steps that were done: what one has opened that was made again is opened again, and
 * taken back by what was written down.
 */
export function lookAgain(
  later: Pick<LaterChains, "look">,
  { device, force }: Pick<MasqueradeSettings, "device" | "force">,
  outlets: Outlets,
  done: Set<string>,
  host: Pick<LinuxHost, "perform">,
  does: (step: Step) => void,
): void {
  try {
    for (const chain of later.look()) {
      if (!standsInTheWay(chain, outlets)) continue;
      if (!force || chain.isOwned) {
        log.warn("{problem}", { problem: closedWarning(chain, device, outlets) });
        continue;
      }
      const step = openingStep(chain, device, outlets);
      if (done.has(step.title)) host.perform(step.title, step.action);
      else does(step);
      done.add(step.title);
      log.warn("{problem}", { problem: `${step.title}: it has come since` });
    }
  } catch (error) {
    log.warn("{problem}", { problem: `--masquerade: ${(error as Error).message}` });
  }
}
