/**
 * From a configuration, and what the kernel says of this host, to the steps that make a tunnel of it:
 * what `wg-quick up` does, in its order.
 *
 * @module
 */

import { MAIN_TABLE } from "../../ffi/netlink/mod.ts";
import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import { socketAddress } from "../address.ts";
import { killSwitchScript, killSwitchTable } from "./kill_switch_script.ts";
import { protectScript, protectTable } from "./protect_script.ts";
import { bypassScript, bypassSteps, type Destination } from "./bypass_steps.ts";
import { SystemTunnelError } from "./error.ts";
import { type DnsMethod, FIRST_TABLE, type RuleAction, type Step } from "./step.ts";

/** Where routes of the tunnel go: nowhere, where wg-quick puts them, or into this table. */
export type TableChoice = "off" | "auto" | number;

export interface OwnAddress {
  readonly address: IpAddress;
  readonly length: number;
}

/** What of a configuration a plan is about. */
export interface TunnelSettings {
  readonly device: string;
  /** With the length of the network each is in. */
  readonly addresses: readonly OwnAddress[];
  /** Of all peers. */
  readonly allowedIps: readonly Prefix[];
  /** Where connections go that bear no mark, and yet carry the tunnel. Default: nowhere. */
  readonly bypass?: readonly Destination[];
  /**
   * Those of {@link allowedIps} by which a peer would be reached through itself. They are routed as a default
   * route is: by a table of the tunnel's own, which something can go around.
   */
  readonly circular?: readonly Prefix[];
  readonly table: TableChoice;
  /** Of WireGuard's datagrams, and then the table of default routes too. Missing: chosen. */
  readonly fwMark?: number;
  /** Bytes. */
  readonly mtu: number;
  readonly killSwitch: boolean;
  readonly dns: { readonly servers: readonly string[]; readonly domains: readonly string[] };
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

/** What the kernel and this host say. */
export interface HostView extends RoutingView {
  readonly dnsMethod: DnsMethod;
}

export interface Plan {
  /** Of WireGuard's datagrams; missing: none is needed, and none was configured. */
  readonly mark?: number;
  /**
   * Of rules for what goes around the tunnel, where there are to be any: see {@link bypassSteps}. Those that
   * lead to a table of its own have the two after it.
   */
  readonly bypassPriorities: Readonly<Partial<Record<4 | 6, number>>>;
  readonly steps: readonly Step[];
  /** Those of {@link steps} that a table of the tunnel's own takes. */
  readonly ownSteps: readonly Step[];
}

/** The kernel's own first rule, for the local table, has 0, and the next 32766. */
const DEFAULT_PRIORITY = 32766;
/** With it the reverse path filter looks at marks. */
const SRC_VALID_MARK = "net.ipv4.conf.all.src_valid_mark";

/** @throws {SystemTunnelError} if this host cannot have such a tunnel. */
export function planTunnel(settings: TunnelSettings, host: HostView): Plan {
  const { device, addresses, killSwitch, dns } = settings;
  checkIpv6(settings, host);
  const own = ownTableRoutes(settings);
  const mark = settings.fwMark ??
    (own.length > 0 || killSwitch ? freeTable(host.tables) : undefined);
  const priorities = bypassPriorities(own, host.priorities);
  const protection = protectionSteps(settings, host, mark!);
  const ownTable = ownTableSteps(settings, mark!, priorities);
  const bypass = settings.bypass ?? [];
  const steps: Step[] = [];
  if (killSwitch) {
    steps.push({
      title: `nft: nothing leaves around ${device} (KillSwitch)`,
      action: { kind: "nft", script: killSwitchScript(device, mark!) },
      undo: killSwitchTable(device),
    });
    if (bypass.length > 0) {
      steps.push({
        title: `nft: TCP to ${
          bypass.map(({ address, port }) => socketAddress(address, port)).join(", ")
        } passes`,
        action: { kind: "nft", script: bypassScript(device, bypass) },
      });
    }
  }
  for (const { address, length } of addresses) {
    steps.push({
      title: `address add ${address}/${length} dev ${device}`,
      action: { kind: "address", device, address: `${address}/${length}` },
    });
  }
  steps.push({
    title: `link set ${device} mtu ${settings.mtu} up`,
    action: { kind: "link", device, mtu: settings.mtu },
  });
  if (dns.servers.length > 0) steps.push(dnsStep(settings, host.dnsMethod));
  steps.push(...protection);
  // Before the routes: no connection that is there already goes astray in between.
  steps.push(...bypassSteps(bypass, priorities));
  steps.push(...routeSteps(settings));
  steps.push(...ownTable);
  return {
    ...(mark !== undefined && { mark }),
    bypassPriorities: priorities,
    steps,
    ownSteps: [...protection, ...ownTable],
  };
}

/** What goes into a table of the tunnel's own, the longest first: default routes, and what is like one. */
export function ownTableRoutes(
  { allowedIps, circular = [], table }: Pick<TunnelSettings, "allowedIps" | "circular" | "table">,
): Prefix[] {
  if (table !== "auto") return [];
  const texts = new Set(circular.map(String));
  return unique(allowedIps).filter((prefix) => prefix.length === 0 || texts.has(`${prefix}`));
}

/** The steps for prefixes that come later, and their order: the longest first. */
export function routeSteps(
  settings: Pick<TunnelSettings, "device" | "addresses" | "allowedIps" | "circular" | "table">,
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
  settings: Pick<TunnelSettings, "device" | "allowedIps" | "circular" | "table">,
  mark: number,
  priorities: Plan["bypassPriorities"],
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
  settings: Pick<TunnelSettings, "device" | "addresses" | "allowedIps" | "circular" | "table">,
  host: Pick<HostView, "sysctl">,
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
 * Sets a value of sysctl. It is a step also where it has that value already: somebody who goes before
 * this tunnel does must know that it is needed still.
 */
export function sysctlSteps(
  key: string,
  value: string,
  host: Pick<HostView, "sysctl">,
): Step[] {
  const before = host.sysctl(key);
  if (before === undefined) return [];
  return [{
    title: `sysctl ${key}=${value}`,
    action: { kind: "sysctl", key, value },
    undo: { kind: "sysctl", key, value, before },
  }];
}

function dnsStep({ device, dns }: TunnelSettings, method: DnsMethod): Step {
  const how = { resolvconf: "resolvconf", resolvectl: "resolvectl", file: "/etc/resolv.conf" };
  return {
    title: `name servers ${[...dns.servers, ...dns.domains].join(" ")} by ${how[method]}`,
    action: { kind: "dns", method, device, ...dns },
    undo: { kind: "dns", method, device },
  };
}

/** @throws {SystemTunnelError} */
export function checkIpv6(
  { addresses, allowedIps }: Pick<TunnelSettings, "addresses" | "allowedIps">,
  host: Pick<HostView, "hasIpv6">,
): void {
  if (host.hasIpv6) return;
  const own = addresses.find(({ address }) => address.version === 6)?.address ??
    allowedIps.find(({ version }) => version === 6);
  if (own === undefined) return;
  throw new SystemTunnelError(`${own}: this host has no IPv6, expected addresses of IPv4 alone`);
}

/**
 * As a plan has them, for what {@link ownTableRoutes} takes.
 *
 * @param priorities Of the rules that there are.
 * @param before Of families that have such a table already.
 */
export function bypassPriorities(
  own: readonly Prefix[],
  priorities: HostView["priorities"],
  before: Plan["bypassPriorities"] = {},
): Plan["bypassPriorities"] {
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
