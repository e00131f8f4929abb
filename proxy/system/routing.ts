/**
 * Where packets go: the routes of a tunnel, and the table and rules of its own that a default route takes.
 *
 * @module
 */

import { MAIN_TABLE } from "../../ffi/netlink/mod.ts";
import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import { protectScript, protectTable } from "./protect_script.ts";
import { FIRST_TABLE, type RuleAction, type Step, sysctlSteps } from "./step.ts";

/** Where routes of the tunnel go: nowhere, where wg-quick puts them, or into this table. */
export type TableChoice = "off" | "auto" | number;

export interface OwnAddress {
  readonly address: IpAddress;
  readonly length: number;
}

/** What of a configuration routes are about. */
export interface RoutingSettings {
  readonly device: string;
  /** With the length of the network each is in. */
  readonly addresses: readonly OwnAddress[];
  /** Of all peers. */
  readonly allowedIps: readonly Prefix[];
  /**
   * Those of {@link allowedIps} by which a peer would be reached through itself. They are routed as a default
   * route is: by a table of the tunnel's own, which something can go around.
   */
  readonly circular?: readonly Prefix[];
  readonly table: TableChoice;
}

/** What the kernel says of routes. */
export interface RoutingView {
  /** Tables with a route in them. */
  readonly tables: ReadonlySet<number>;
  /** Priorities of rules. */
  readonly priorities: Readonly<Record<4 | 6, readonly number[]>>;
  /** Whether the host has IPv6 at all. */
  readonly hasIpv6: boolean;
  /** Value of a setting of sysctl; undefined if there is none. */
  sysctl(key: string): string | undefined;
}

/**
 * Of rules for what goes around the tunnel, where there are to be any: see `bypassSteps`. Those that lead to
 * a table of its own have the two after it.
 */
export type BypassPriorities = Readonly<Partial<Record<4 | 6, number>>>;

/** The kernel's own first rule, for the local table, has 0, and the next 32766. */
const DEFAULT_PRIORITY = 32766;
/** With it the reverse path filter looks at marks. */
const SRC_VALID_MARK = "net.ipv4.conf.all.src_valid_mark";

/** What goes into a table of the tunnel's own, the longest first: default routes, and what is like one. */
export function ownTableRoutes(
  { allowedIps, circular = [], table }: RoutingSettings,
): Prefix[] {
  if (table !== "auto") return [];
  const texts = new Set(circular.map(String));
  return unique(allowedIps).filter((prefix) => prefix.length === 0 || texts.has(`${prefix}`));
}

/** The steps for prefixes that come later, and their order: the longest first. */
export function routeSteps(
  settings: RoutingSettings,
): Step[] {
  const { device, addresses, allowedIps, table } = settings;
  if (table === "off") return [];
  const own = new Set(ownTableRoutes(settings).map(String));
  return unique(allowedIps).filter((prefix) => {
    if (typeof table === "number") return true;
    // The route to the network of an own address is there with it.
    return !own.has(`${prefix}`) && !addresses.some((own) => isWithin(prefix, own));
  }).map((prefix): Step => ({
    title: `route add ${prefix} dev ${device}${typeof table === "number" ? ` table ${table}` : ""}`,
    action: {
      kind: "route",
      device,
      destination: `${prefix}`,
      ...(typeof table === "number" && { table }),
    },
  }));
}

/** What {@link ownTableRoutes} takes, with the rules that lead there, of each family that has any. */
export function ownTableSteps(
  settings: RoutingSettings,
  mark: number,
  priorities: BypassPriorities,
): Step[] {
  const own = ownTableRoutes(settings);
  return [...new Set(own.map(({ version }) => version))].flatMap((version) => {
    const prefixes = own.filter((prefix) => prefix.version === version);
    return ownTable(settings.device, version, prefixes, mark, priorities[version]!);
  });
}

/**
 * Everything but what bears the mark goes by a table of the tunnel's own; yet first what the main table
 * has a route for that is not the default one, or longer than what is in that table. So the endpoint keeps
 * whatever way it has.
 *
 * @param prefixes The longest first.
 * @param bypass The priority before those of the rules.
 */
function ownTable(
  device: string,
  version: 4 | 6,
  prefixes: readonly Prefix[],
  mark: number,
  bypass: number,
): Step[] {
  const rule: RuleAction = {
    kind: "rule",
    family: version,
    priority: bypass + 2,
    mark,
    not: true,
    table: mark,
  };
  const main: RuleAction = {
    kind: "rule",
    family: version,
    priority: bypass + 1,
    table: MAIN_TABLE,
    suppressPrefixLength: prefixes.at(-1)!.length,
  };
  return [
    ...prefixes.map((prefix): Step => ({
      title: `route add ${prefix} dev ${device} table ${mark}`,
      action: { kind: "route", device, destination: `${prefix}`, table: mark },
    })),
    {
      title: `rule add not fwmark ${mark} table ${mark} (IPv${version})`,
      action: rule,
      undo: rule,
    },
    {
      title:
        `rule add table main suppress_prefixlength ${main.suppressPrefixLength} (IPv${version})`,
      action: main,
      undo: main,
    },
  ];
}

/**
 * What there is beside a table of the tunnel's own, if it has one. Before the routes: nobody outside gets a
 * packet in between.
 */
export function protectionSteps(
  settings: RoutingSettings,
  host: Pick<RoutingView, "sysctl">,
  mark: number,
): Step[] {
  const { device, addresses } = settings;
  const own = ownTableRoutes(settings);
  if (own.length === 0) return [];
  const steps: Step[] = [{
    title: `nft: ${device}'s addresses from ${device} alone, and the mark of its answers`,
    action: {
      kind: "nft",
      script: protectScript(device, mark, addresses.map(({ address }) => address)),
    },
    undo: protectTable(device),
  }];
  if (own.some(({ version }) => version === 4)) {
    steps.push(...sysctlSteps(SRC_VALID_MARK, "1", host));
  }
  return steps;
}

/**
 * For what {@link ownTableRoutes} takes.
 *
 * @param priorities Of the rules that there are.
 * @param before Of families that have such a table already.
 */
export function bypassPriorities(
  own: readonly Prefix[],
  priorities: RoutingView["priorities"],
  before: BypassPriorities = {},
): BypassPriorities {
  return Object.fromEntries(
    own.map(({ version }) => [
      version,
      before[version] ?? lowestPriority(priorities[version]) - 3,
    ]),
  );
}

/** Of all rules but the kernel's first: who puts one in front of it comes before all of them. */
export function lowestPriority(priorities: readonly number[]): number {
  return Math.min(DEFAULT_PRIORITY, ...priorities.filter((priority) => priority > 0));
}

/** The first that has no route, from one on. */
export function freeTable(tables: ReadonlySet<number>, first: number = FIRST_TABLE): number {
  let table = first;
  while (tables.has(table)) table++;
  return table;
}

/** Each once, the longest first. */
function unique(prefixes: readonly Prefix[]): Prefix[] {
  return [...new Map(prefixes.map((prefix) => [`${prefix}`, prefix])).values()]
    .toSorted((a, b) => b.length - a.length);
}

/** Whether a prefix lies in the network of an own address, to which the kernel makes a route. */
function isWithin(prefix: Prefix, { address, length }: OwnAddress): boolean {
  const bits = address.bytes.length * 8;
  return length > 0 && length < bits && length <= prefix.length &&
    new Prefix(address, length).contains(prefix.address);
}
