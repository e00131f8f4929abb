/**
 * The kill switch as a table of nftables.
 *
 * @module
 */

import { removeTable } from "./nft_script.ts";
import { nftTableName, type NftTableUndo } from "./step.ts";

export function killSwitchTable(device: string): NftTableUndo {
  return { kind: "nft-table", family: "inet", table: nftTableName(device, "kill") };
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
