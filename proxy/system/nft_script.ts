/**
 * What every script for nftables here has.
 *
 * @module
 */

import type { NftTableUndo } from "./step.ts";

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
