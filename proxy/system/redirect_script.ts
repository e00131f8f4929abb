/**
 * The table of nftables that hands this host's traffic to a port of ours.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { FIRST_TABLE, nftTableName, type NftTableUndo } from "./step.ts";
import { addElements, removeTable } from "./nft_script.ts";

export interface RedirectRules {
  /** Of the redirect. */
  readonly name: string;
  /** What is redirected. */
  readonly cidrs: readonly Prefix[];
  /** What is not, though it is in those. */
  readonly exempt: readonly Prefix[];
  /** Where the redirect listens. */
  readonly port: number;
  /** Of what is ours, and never redirected. */
  readonly mark: number;
  /** Of datagrams to be redirected: a routing rule brings them back. */
  readonly captured: number;
}

export function redirectTable(name: string): NftTableUndo {
  return { kind: "nft-table", family: "inet", table: nftTableName(name, "redirect") };
}

/**
 * TCP is redirected with its destination kept by the kernel's connection tracking. UDP keeps its destination,
 * and is handed to a transparent socket (TPROXY), which is possible for what comes in alone: what this host
 * itself sends is marked, and routed back in by way of loopback.
 */
export function redirectScript(rules: RedirectRules): string {
  const { name, cidrs, exempt, port, mark, captured } = rules;
  const undo = redirectTable(name);
  const table = `${undo.family} ${undo.table}`;
  const chain = (name: string, type: string, hook: string, priority: number) =>
    `add chain ${table} ${name} { type ${type} hook ${hook} priority ${priority}; }`;
  const add = (chain: string, ...rules: string[]) =>
    rules.map((rule) => `add rule ${table} ${chain} ${rule}`);
  // What is this host's own, or comes from here, or answers somebody.
  const passed = [
    `meta mark ${hex(mark)} return`,
    "fib daddr type { local, broadcast, multicast } return",
    "ip daddr @exempt4 return",
    "ip6 daddr @exempt6 return",
  ];
  const tcp = FAMILIES.map(({ ip, version }) =>
    `${ip} daddr @cidr${version} meta l4proto tcp redirect to :${port}`
  );
  const marked = FAMILIES.map(({ ip, version }) =>
    `${ip} daddr @cidr${version} meta l4proto udp meta mark set ${hex(captured)}`
  );
  const handed = FAMILIES.map(({ ip, version }) =>
    `${ip} daddr @cidr${version} meta l4proto udp tproxy ${ip} to :${port} ` +
    `meta mark set ${hex(captured)} accept`
  );
  const answers = "ct direction reply return";
  // TCP is the first's that redirects it; so is UDP, and what a tunnel of wg-quick's has sent is nobody's.
  const others = `meta mark ${FIRST_TABLE}-${LAST_TABLE} meta mark != ${hex(captured)} return`;
  return [
    removeTable(undo).trimEnd(),
    `add table ${table}`,
    ...FAMILIES.flatMap(({ type, version }) =>
      ["cidr", "exempt"].map((set) =>
        `add set ${table} ${set}${version} { type ${type}; flags interval; auto-merge; }`
      )
    ),
    ...elements(table, "cidr", cidrs),
    ...elements(table, "exempt", exempt),
    chain("nat_output", "nat", "output", -100),
    chain("nat_prerouting", "nat", "prerouting", -100),
    chain("route_output", "route", "output", -150),
    chain("filter_prerouting", "filter", "prerouting", -150),
    chain("input", "filter", "input", 0),
    ...add("nat_output", ...passed, ...tcp),
    ...add("nat_prerouting", ...passed, ...tcp),
    ...add("route_output", answers, others, ...passed, ...marked),
    ...add("filter_prerouting", answers, others, ...passed, ...handed),
    // The port looks closed to whoever was not redirected there.
    ...add(
      "input",
      `tcp dport ${port} ct status and dnat != dnat fib daddr type local reject with tcp reset`,
      `udp dport ${port} fib daddr type local reject`,
    ),
    "",
  ].join("\n");
}

/** Replaces what is not redirected, in one go. */
export function exemptScript(name: string, exempt: readonly Prefix[]): string {
  const { family, table } = redirectTable(name);
  return [
    ...FAMILIES.map(({ version }) => `flush set ${family} ${table} exempt${version}`),
    ...elements(`${family} ${table}`, "exempt", exempt),
    "",
  ].join("\n");
}

/** As far as marks and tables of redirects, and of wg-quick, are likely to go. */
const LAST_TABLE = FIRST_TABLE + 1_023;

const FAMILIES = [
  { version: 4, ip: "ip", type: "ipv4_addr" },
  { version: 6, ip: "ip6", type: "ipv6_addr" },
] as const;

function elements(table: string, set: string, prefixes: readonly Prefix[]): string[] {
  return FAMILIES.flatMap(({ version }) => {
    const of = prefixes.filter((prefix) => prefix.version === version);
    return addElements(`${table} ${set}${version}`, of.map(String));
  });
}

function hex(mark: number): string {
  return `0x${mark.toString(16)}`;
}
