/**
 * The routes of a tunnel that is up, as its peers' allowed IPs change: by a reload, `wg set`, a new peer.
 * Default routes come and go with all that belongs to them, as the plan makes them.
 *
 * @module
 */

import { NetlinkError } from "../../ffi/mod.ts";
import type { Prefix } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import type { LinuxHost } from "./host.ts";
import {
  bypassPriority,
  checkIpv6,
  freeTable,
  ownTableRoutes,
  ownTableSteps,
  type Plan,
  protectionSteps,
  routeSteps,
  type RoutingView,
  type TunnelSettings,
} from "./plan.ts";
import type { Step } from "./step.ts";

const log = getLogger(["wirestack", "system"]);

type Priorities = Partial<Record<4 | 6, readonly number[]>>;

export interface LiveRoutesOptions {
  readonly host: Pick<LinuxHost, "removeRoute">;
  readonly settings: TunnelSettings;
  /** What was done for those settings. */
  readonly plan: Plan;
  /** This host as it was when that was planned. */
  readonly planned: RoutingView;
  /** This host as it is. */
  view(): RoutingView;
  /** Does a step, written down if it is to be taken back. @throws {Error} if it cannot be. */
  do(step: Step): void;
  /** Takes back a step that was written down. @throws {Error} if it cannot be. */
  takeBack(step: Step): void;
  /** Of WireGuard's datagrams; 0 for none. */
  setMark(mark: number): void;
  /** Has what goes around the tunnel do so by rules of these priorities, of these families alone. */
  goAround(priorities: Plan["bypassPriorities"]): void;
}

export class LiveRoutes {
  readonly #options: LiveRoutesOptions;
  /** Prefixes with a route in the main table, or a configured one, by their text. */
  readonly #present: Set<string>;
  /** Those in the tunnel's own. */
  readonly #own: Map<string, Prefix>;
  readonly #circular: ReadonlySet<string>;
  /** What {@link #own} has made, by title, in order. */
  readonly #done: Map<string, Step>;
  /** Of other rules, when this tunnel's were made. */
  #priorities: Priorities;
  #mark: number | undefined;
  readonly #changed = new Map<string, { readonly prefix: Prefix; readonly isThere: boolean }>();
  #isClosed = false;

  constructor(options: LiveRoutesOptions) {
    const { settings, plan, planned } = options;
    this.#options = options;
    this.#mark = plan.mark;
    this.#circular = new Set(settings.circular?.map(String));
    const own = ownTableRoutes(settings);
    this.#own = new Map(own.map((prefix) => [`${prefix}`, prefix]));
    this.#present = new Set(settings.allowedIps.map(String));
    this.#priorities = Object.fromEntries(
      own.map(({ version }) => [version, planned.priorities[version]]),
    );
    const titles = new Set(this.#wanted(planned).map(({ title }) => title));
    this.#done = new Map(
      plan.steps.filter(({ title }) => titles.has(title)).map((step) => [step.title, step]),
    );
  }

  /**
   * A prefix has become a peer's, or is nobody's any more. Done when all of a change is known: what goes
   * from one peer to another is never without a route. What fails is logged.
   */
  change(prefix: Prefix, isThere: boolean): void {
    if (this.#changed.size === 0) queueMicrotask(() => this.#apply());
    this.#changed.set(`${prefix}`, { prefix, isThere });
  }

  /** Nothing is changed any more. */
  close(): void {
    this.#isClosed = true;
  }

  #apply(): void {
    const changed = [...this.#changed];
    this.#changed.clear();
    if (this.#isClosed) return;
    let isOwnChanged = false;
    for (const [text, { prefix, isThere }] of changed) {
      if (this.#present.has(text) === isThere) continue;
      if (isThere) this.#present.add(text);
      else this.#present.delete(text);
      if (this.#isOwn(prefix)) {
        if (isThere) this.#own.set(text, prefix);
        else this.#own.delete(text);
        isOwnChanged = true;
      } else {
        for (const step of routeSteps({ ...this.#options.settings, allowedIps: [prefix] })) {
          orLogged(() => isThere ? this.#options.do(step) : this.#takeBack(step));
        }
      }
    }
    if (isOwnChanged) orLogged(() => this.#followOwn());
  }

  #isOwn(prefix: Prefix): boolean {
    return this.#options.settings.table === "auto" &&
      (prefix.length === 0 || this.#circular.has(`${prefix}`));
  }

  /** Makes what is missing, then takes away what is too much: nothing is open in between. */
  #followOwn(): void {
    const { settings, view: look, setMark, goAround } = this.#options;
    const view = look();
    const prefixes = [...this.#own.values()];
    checkIpv6({ addresses: [], allowedIps: prefixes }, view);
    if (prefixes.length > 0 && this.#mark === undefined) {
      this.#mark = freeTable(view.tables);
      setMark(this.#mark);
    }
    const before = this.#priorities;
    this.#priorities = Object.fromEntries(
      prefixes.map(({ version }) => [version, before[version] ?? view.priorities[version]]),
    );
    const wanted = this.#wanted(view);
    const titles = new Set(wanted.map(({ title }) => title));
    goAround(bypassPriorities({ ...before, ...this.#priorities }));
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
    goAround(bypassPriorities(this.#priorities));
    // Another tunnel may take the table now, and with it the mark.
    if (prefixes.length > 0 || settings.fwMark !== undefined || settings.killSwitch) return;
    this.#mark = undefined;
    setMark(0);
  }

  /** What the tunnel's own table takes, with the rules and the rest, as the plan has it. */
  #wanted(view: RoutingView): Step[] {
    if (this.#own.size === 0) return [];
    const settings = { ...this.#options.settings, allowedIps: [...this.#own.values()] };
    return [
      ...protectionSteps(settings, view, this.#mark!),
      ...ownTableSteps(settings, this.#mark!, { ...view.priorities, ...this.#priorities }),
    ];
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

function bypassPriorities(priorities: Priorities): Plan["bypassPriorities"] {
  return Object.fromEntries(
    Object.entries(priorities).map(([version, others]) => [version, bypassPriority(others)]),
  );
}

function orLogged(change: () => void): void {
  try {
    change();
  } catch (error) {
    log.error("{problem}", { problem: (error as Error).message });
  }
}
