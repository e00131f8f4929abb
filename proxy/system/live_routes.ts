/**
 * The routes of a tunnel that is up, as its peers' allowed IPs change: by a reload, `wg set`, a new peer.
 * Default routes come and go with all that belongs to them, as the plan makes them.
 *
 * @module
 */

import { NetlinkError } from "../../ffi/netlink/mod.ts";
import type { Prefix } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import type { LinuxHost } from "./host.ts";
import { checkIpv6, type Plan, type TunnelSettings } from "./plan.ts";
import { type PrefixChange, PrefixChanges } from "./prefix_changes.ts";
import {
  type BypassPriorities,
  bypassPriorities,
  freeTable,
  ownTableRoutes,
  ownTableSteps,
  protectionSteps,
  routeSteps,
  type RoutingView,
} from "./routing.ts";
import type { Step } from "./step.ts";

const log = getLogger(["wirestack", "system"]);

export interface LiveRoutesOptions {
  readonly host: Pick<LinuxHost, "removeRoute">;
  readonly settings: TunnelSettings;
  /** What was done for those settings. */
  readonly plan: Plan;
  /** This host as it is. */
  view(): RoutingView;
  /** Does a step, written down if it is to be taken back. @throws {Error} if it cannot be. */
  do(step: Step): void;
  /** Takes back a step that was written down. @throws {Error} if it cannot be. */
  takeBack(step: Step): void;
  /** Of WireGuard's datagrams; 0 for none. */
  setMark(mark: number): void;
  /** Has what goes around the tunnel do so by rules of these priorities, of these families alone. */
  goAround(priorities: BypassPriorities): void;
}

export class LiveRoutes {
  readonly #options: LiveRoutesOptions;
  /** Prefixes that are somebody's, by their text. */
  readonly #present: Map<string, Prefix>;
  /** What a table of the tunnel's own has taken, by title, in order. */
  readonly #done: Map<string, Step>;
  #priorities: BypassPriorities;
  #mark: number | undefined;
  readonly #changes = new PrefixChanges((changed) => this.#apply(changed));

  constructor(options: LiveRoutesOptions) {
    const { settings, plan } = options;
    this.#options = options;
    this.#mark = plan.mark;
    this.#priorities = plan.bypassPriorities;
    this.#present = new Map(settings.allowedIps.map((prefix) => [`${prefix}`, prefix]));
    this.#done = new Map(plan.ownSteps.map((step) => [step.title, step]));
  }

  /**
   * A prefix has become a peer's, or is nobody's any more. Done when all of a change is known: what goes
   * from one peer to another is never without a route. What fails is logged.
   */
  change(prefix: Prefix, isThere: boolean): void {
    this.#changes.add(prefix, isThere);
  }

  /** Nothing is changed any more. */
  close(): void {
    this.#changes.close();
  }

  #apply(changed: ReadonlyMap<string, PrefixChange>): void {
    let isOwnChanged = false;
    for (const [text, { prefix, isThere }] of changed) {
      if (this.#present.has(text) === isThere) continue;
      if (isThere) this.#present.set(text, prefix);
      else this.#present.delete(text);
      const settings = { ...this.#options.settings, allowedIps: [prefix] };
      if (ownTableRoutes(settings).length > 0) isOwnChanged = true;
      for (const step of routeSteps(settings)) {
        orLogged(() => isThere ? this.#options.do(step) : this.#takeBack(step));
      }
    }
    if (isOwnChanged) orLogged(() => this.#followOwn());
  }

  /** Makes what is missing, then takes away what is too much: nothing is open in between. */
  #followOwn(): void {
    const { view: look, setMark, goAround } = this.#options;
    const settings = { ...this.#options.settings, allowedIps: [...this.#present.values()] };
    const view = look();
    const own = ownTableRoutes(settings);
    checkIpv6({ addresses: [], allowedIps: own }, view);
    if (own.length > 0 && this.#mark === undefined) {
      this.#mark = freeTable(view.tables);
      setMark(this.#mark);
    }
    const before = this.#priorities;
    this.#priorities = bypassPriorities(own, view.priorities, before);
    const wanted = [
      ...protectionSteps(settings, view, this.#mark!),
      ...ownTableSteps(settings, this.#mark!, this.#priorities),
    ];
    const titles = new Set(wanted.map(({ title }) => title));
    goAround({ ...before, ...this.#priorities });
    for (const step of wanted) {
      if (this.#done.has(step.title)) continue;
      this.#options.do(step);
      this.#done.set(step.title, step);
    }
    for (const step of [...this.#done.values()].toReversed()) {
      if (titles.has(step.title)) continue;
      this.#takeBack(step);
      this.#done.delete(step.title);
    }
    goAround(this.#priorities);
    // Another tunnel may take the table now, and with it the mark.
    if (own.length > 0 || settings.fwMark !== undefined || settings.killSwitch) return;
    this.#mark = undefined;
    setMark(0);
  }

  #takeBack(step: Step): void {
    const { action, undo } = step;
    if (undo !== undefined) return this.#options.takeBack(step);
    if (action.kind !== "route") return;
    try {
      this.#options.host.removeRoute(action);
    } catch (error) {
      if (!(error instanceof NetlinkError && error.code === "ESRCH")) throw error;
    }
  }
}

function orLogged(change: () => void): void {
  try {
    change();
  } catch (error) {
    log.error("{problem}", { problem: (error as Error).message });
  }
}
