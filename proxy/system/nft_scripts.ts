/**
 * The tables of nftables that belong to a whole-system tunnel.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { type NftTableUndo, OWN_PREFIX } from "./step.ts";

export function protectTable(device: string): NftTableUndo {
  return { kind: "nft-table", family: "inet", table: `${OWN_PREFIX}${device}` };
}

export function killSwitchTable(device: string): NftTableUndo {
  return { kind: "nft-table", family: "inet", table: `${OWN_PREFIX}kill-${device}` };
}

/**
 * Removes a table, there or not. Older nft have no `destroy`; adding makes sure that there is something
 * to delete.
 */
export function removeTable({ family, table }: NftTableUndo): string {
  return `add table ${family} ${table}\ndelete table ${family} ${table}\n`;
}

/**
 * Adds to a set, each once: nft takes none twice.
 *
 * @param set `FAMILY TABLE NAME`
 */
export function addElements(set: string, elements: readonly string[]): string[] {
  const all = [...new Set(elements)].join(", ");
  return all === "" ? [] : [`add element ${set} { ${all} }`];
}

/**
 * As wg-quick has it. The tunnel's addresses cannot be reached, or probed for, from the link outside
 * (CVE-2019-14899), and the answers to WireGuard's own datagrams bear its mark, so that a strict
 * reverse path filter looks for their way where they go.
 */
export function protectScript(
  device: string,
  mark: number,
  addresses: readonly IpAddress[],
): string {
  const { family, table } = protectTable(device);
  const name = `${family} ${table}`;
  const hex = `0x${mark.toString(16)}`;
  return [
    removeTable(protectTable(device)).trimEnd(),
    `add table ${name}`,
    `add chain ${name} preraw { type filter hook prerouting priority -300; }`,
    `add chain ${name} premangle { type filter hook prerouting priority -150; }`,
    `add chain ${name} postmangle { type filter hook postrouting priority -150; }`,
    ...addresses.map((address) =>
      `add rule ${name} preraw iifname != "${device}" ip${
        address.version === 4 ? "" : "6"
      } daddr ` +
      `${address} fib saddr type != local drop`
    ),
    `add rule ${name} postmangle meta l4proto udp meta mark ${hex} ct mark set ${hex}`,
    `add rule ${name} premangle meta l4proto udp ct mark ${hex} meta mark set ${hex}`,
    "",
  ].join("\n");
}

/**
 * Nothing leaves around the tunnel, of this host's own and of what it forwards: but loopback, the
 * tunnel, WireGuard's own datagrams, what it takes to have a link at all (DHCP, neighbours, routers), and
 * what is put into its sets: connections that cannot bear the mark.
 */
export function killSwitchScript(device: string, mark: number): string {
  const { family, table } = killSwitchTable(device);
  const name = `${family} ${table}`;
  const add = (chain: string, rule: string) => `add rule ${name} ${chain} ${rule}`;
  return [
    removeTable(killSwitchTable(device)).trimEnd(),
    `add table ${name}`,
    `add set ${name} bypass4 { type ipv4_addr . inet_service; }`,
    `add set ${name} bypass6 { type ipv6_addr . inet_service; }`,
    `add chain ${name} output { type filter hook output priority 0; policy drop; }`,
    `add chain ${name} forward { type filter hook forward priority 0; policy drop; }`,
    add("output", 'oifname "lo" accept'),
    add("output", `oifname "${device}" accept`),
    add("output", `meta mark 0x${mark.toString(16)} accept`),
    add("output", "ip daddr . tcp dport @bypass4 accept"),
    add("output", "ip6 daddr . tcp dport @bypass6 accept"),
    add("output", "meta nfproto ipv4 udp sport 68 udp dport 67 accept"),
    add("output", "meta nfproto ipv6 udp sport 546 udp dport 547 accept"),
    add(
      "output",
      "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
    ),
    add("output", "counter reject with icmpx type admin-prohibited"),
    add("forward", `oifname "${device}" accept`),
    add("forward", `iifname "${device}" accept`),
    add("forward", "counter reject with icmpx type admin-prohibited"),
    "",
  ].join("\n");
}
