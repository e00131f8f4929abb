/**
 * What it takes that a connection which cannot be marked goes around the tunnel: a routing rule for its
 * address, and a hole of its size in the kill switch.
 *
 * @module
 */

import { MAIN_TABLE } from "../../ffi/netlink/mod.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import { killSwitchTable } from "./kill_switch_script.ts";
import { addElements } from "./nft_script.ts";
import type { RuleAction, Step } from "./step.ts";

/** Where a fallback's connection of TCP goes. */
export interface Destination {
  readonly address: IpAddress;
  readonly port: number;
}

/**
 * Rules that have the main table decide for these, each address once.
 *
 * @param priorities Of the rules, for those families that have a default route of the tunnel's, or what is
 * like one. They come before the tunnel's own.
 */
export function bypassSteps(
  destinations: readonly Destination[],
  priorities: Readonly<Partial<Record<4 | 6, number>>>,
): Step[] {
  const addresses = new Map(destinations.map(({ address }) => [`${address}`, address]));
  return [...addresses].flatMap(([text, { version: family, bytes }]): Step[] => {
    const priority = priorities[family];
    if (priority === undefined) return [];
    const destination = `${text}/${bytes.length * 8}`;
    const rule: RuleAction = { kind: "rule", family, priority, destination, table: MAIN_TABLE };
    return [{ title: `rule add to ${destination} table main`, action: rule, undo: rule }];
  });
}

/** Has the kill switch let through these, and nothing else that is not marked. */
export function bypassScript(device: string, destinations: readonly Destination[]): string {
  const { family, table } = killSwitchTable(device);
  return ([4, 6] as const).flatMap((version) => {
    const set = `${family} ${table} bypass${version}`;
    const elements = destinations.filter(({ address }) => address.version === version)
      .map(({ address, port }) => `${address} . ${port}`);
    return [`flush set ${set}`, ...addElements(set, elements)];
  }).join("\n") + "\n";
}
