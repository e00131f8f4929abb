/**
 * The table of nftables that keeps others out of a whole-system tunnel's addresses.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { removeTable } from "./nft_script.ts";
import { nftTableName, type NftTableUndo } from "./step.ts";

export function protectTable(device: string): NftTableUndo {
  return { kind: "nft-table", family: "inet", table: nftTableName(device) };
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
