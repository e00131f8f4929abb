/**
 * From a configuration, and what the kernel says of this host, to the steps that make a tunnel of it:
 * what `wg-quick up` does, in its order.
 *
 * @module
 */

import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import { killSwitchScript, killSwitchTable, protectScript, protectTable } from "./nft_scripts.ts";
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
  readonly table: TableChoice;
  /** Of WireGuard's datagrams, and then the table of default routes too. Missing: chosen. */
  readonly fwMark?: number;
  /** Bytes. */
  readonly mtu: number;
  readonly killSwitch: boolean;
  readonly dns: { readonly servers: readonly string[]; readonly domains: readonly string[] };
}

/** What the kernel and this host say. */
export interface HostView {
  /** Tables with a route in them. */
  readonly tables: ReadonlySet<number>;
  /** Priorities of rules. */
  readonly priorities: Readonly<Record<4 | 6, readonly number[]>>;
  /** Whether the host has IPv6 at all. */
  readonly hasIpv6: boolean;
  /** Value of a setting of sysctl; undefined if there is none. */
  sysctl(key: string): string | undefined;
  readonly dnsMethod: DnsMethod;
}

export interface Plan {
  /** Of WireGuard's datagrams; missing: none is needed, and none was configured. */
  readonly mark?: number;
  readonly steps: readonly Step[];
}

const MAIN_TABLE = 254;
/** The kernel's own first rule, for the local table, has 0, and the next 32766. */
const DEFAULT_PRIORITY = 32766;
/** With it the reverse path filter looks at marks. */
const SRC_VALID_MARK = "net.ipv4.conf.all.src_valid_mark";

/** @throws {SystemTunnelError} if this host cannot have such a tunnel. */
export function planTunnel(settings: TunnelSettings, host: HostView): Plan {
  const { device, addresses, table, killSwitch, dns } = settings;
  checkIpv6(settings, host);
  const defaults = table === "auto" ? settings.allowedIps.filter(({ length }) => length === 0) : [];
  const mark = settings.fwMark ??
    (defaults.length > 0 || killSwitch ? freeTable(host.tables) : undefined);
  const steps: Step[] = [];
  if (killSwitch) {
    steps.push({
      title: `nft: nothing leaves around ${device} (KillSwitch)`,
      action: { kind: "nft", script: killSwitchScript(device, mark!) },
      undo: killSwitchTable(device),
    });
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
  if (defaults.length > 0) steps.push(...protection(settings, host, mark!));
  steps.push(...routeSteps(settings));
  for (const { version } of unique(defaults)) {
    steps.push(...defaultRoute(device, version, mark!, host.priorities[version]));
  }
  return { ...(mark !== undefined && { mark }), steps };
}

/** The steps for prefixes that come later, and their order: the longest first. */
export function routeSteps(
  { device, addresses, allowedIps, table }: Pick<
    TunnelSettings,
    "device" | "addresses" | "allowedIps" | "table"
  >,
): Step[] {
  if (table === "off") return [];
  return unique(allowedIps).filter((prefix) => {
    if (typeof table === "number") return true;
    // The route to the network of an own address is there with it.
    return prefix.length > 0 && !addresses.some((own) => isWithin(prefix, own));
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

/**
 * Everything but what bears the mark goes by a table of the tunnel's own; yet first what the main table
 * has a route for that is not the default one. So the endpoint keeps whatever way it has.
 */
function defaultRoute(
  device: string,
  version: 4 | 6,
  mark: number,
  priorities: readonly number[],
): Step[] {
  const destination = version === 4 ? "0.0.0.0/0" : "::/0";
  const lowest = lowestPriority(priorities);
  const rule: RuleAction = {
    kind: "rule",
    family: version,
    priority: lowest - 1,
    mark,
    not: true,
    table: mark,
  };
  const main: RuleAction = {
    kind: "rule",
    family: version,
    priority: lowest - 2,
    table: MAIN_TABLE,
    suppressPrefixLength: 0,
  };
  return [
    {
      title: `route add ${destination} dev ${device} table ${mark}`,
      action: { kind: "route", device, destination, table: mark },
    },
    {
      title: `rule add not fwmark ${mark} table ${mark} (IPv${version})`,
      action: rule,
      undo: rule,
    },
    {
      title: `rule add table main suppress_prefixlength 0 (IPv${version})`,
      action: main,
      undo: main,
    },
  ];
}

/** Before the routes: nobody outside gets a packet in between. */
function protection(settings: TunnelSettings, host: HostView, mark: number): Step[] {
  const { device, addresses } = settings;
  const steps: Step[] = [{
    title: `nft: ${device}'s addresses from ${device} alone, and the mark of its answers`,
    action: {
      kind: "nft",
      script: protectScript(device, mark, addresses.map(({ address }) => address)),
    },
    undo: protectTable(device),
  }];
  const isIpv4 = settings.allowedIps.some(({ length, version }) => length === 0 && version === 4);
  if (isIpv4) steps.push(...sysctlSteps(SRC_VALID_MARK, "1", host));
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

function checkIpv6({ addresses, allowedIps }: TunnelSettings, host: HostView): void {
  if (host.hasIpv6) return;
  const own = addresses.find(({ address }) => address.version === 6)?.address ??
    allowedIps.find(({ version }) => version === 6);
  if (own === undefined) return;
  throw new SystemTunnelError(`${own}: this host has no IPv6, expected addresses of IPv4 alone`);
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
