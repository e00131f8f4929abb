/**
 * The table of nftables that lets a tunnel's clients out: their addresses become the host's, and from
 * the tunnel nothing goes anywhere else.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { addElements, removeTable } from "./nft_script.ts";
import { nftTableName, type NftTableUndo } from "./step.ts";

/** The device that leads out, of each family that does. */
export type Outlets = Readonly<Partial<Record<4 | 6, string>>>;

export interface Masquerade {
  /** The tunnel's. */
  readonly device: string;
  /** Of the tunnel, bytes. */
  readonly mtu: number;
  readonly outlets: Outlets;
  /** Of the clients. */
  readonly networks: readonly Prefix[];
  /** Whether nothing else of IPv6 is to be forwarded: it was not, before this host had to. */
  readonly closesIpv6: boolean;
}

/** What IP and TCP take of a packet, bytes. */
const HEADERS = { 4: 40, 6: 60 } as const;

export function masqueradeTable(device: string): NftTableUndo {
  return { kind: "nft-table", family: "inet", table: nftTableName(device, "nat") };
}

export function masqueradeScript(masquerade: Masquerade): string {
  const { device, mtu, outlets, closesIpv6 } = masquerade;
  const undo = masqueradeTable(device);
  const table = `${undo.family} ${undo.table}`;
  const forward = (rule: string) => `add rule ${table} forward ${rule}`;
  const versions = ([4, 6] as const).filter((version) => outlets[version] !== undefined);
  const others = `iifname != "${device}" oifname != "${device}"`;
  return [
    removeTable(undo).trimEnd(),
    `add table ${table}`,
    ...versions.map((version) =>
      `add set ${table} ${setOf(version)} { type ipv${version}_addr; flags interval; auto-merge; }`
    ),
    ...elements(masquerade),
    `add chain ${table} forward { type filter hook forward priority filter; policy accept; }`,
    `add chain ${table} postrouting { type nat hook postrouting priority srcnat; policy accept; }`,
    ...(closesIpv6 ? [forward(`meta nfproto ipv6 ${others} drop`)] : []),
    forward(`${others} accept`),
    // Only ever made smaller: what a segment is answered with comes by the tunnel too.
    ...versions.map((version) =>
      forward(
        `meta nfproto ipv${version} tcp flags & (syn | rst) == syn ` +
          `tcp option maxseg size set ${mtu - HEADERS[version]}`,
      )
    ),
    ...versions.flatMap((version) => {
      const source = `${version === 4 ? "ip" : "ip6"} saddr @${setOf(version)}`;
      const outlet = outlets[version];
      return [
        forward(`iifname "${device}" oifname "${outlet}" ${source} accept`),
        forward(
          `meta nfproto ipv${version} iifname "${outlet}" oifname "${device}" ` +
            "ct state established,related accept",
        ),
        `add rule ${table} postrouting oifname "${outlet}" ${source} masquerade`,
      ];
    }),
    forward(`iifname "${device}" counter reject with icmpx type admin-prohibited`),
    forward("counter drop"),
    "",
  ].join("\n");
}

/** Lets the clients of these networks out, and no others, while the rest stays. */
export function networksScript(masquerade: Masquerade): string {
  const { family, table } = masqueradeTable(masquerade.device);
  const versions = ([4, 6] as const).filter((version) => masquerade.outlets[version] !== undefined);
  return [
    ...versions.map((version) => `flush set ${family} ${table} ${setOf(version)}`),
    ...elements(masquerade),
    "",
  ].join("\n");
}

function elements({ device, outlets, networks }: Masquerade): string[] {
  const { family, table } = masqueradeTable(device);
  return ([4, 6] as const).flatMap((version) => {
    const own = networks.filter((network) => network.version === version);
    if (outlets[version] === undefined) return [];
    return addElements(`${family} ${table} ${setOf(version)}`, own.map(String));
  });
}

function setOf(version: 4 | 6): string {
  return `networks${version}`;
}
