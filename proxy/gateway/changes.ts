/**
 * What differs between two configurations of a gateway, in words, for the user who reloads it.
 *
 * @module
 */

import { valueText } from "../config/describe.ts";
import { isRepeated, type Key, KEYS } from "../config/keys.ts";
import { FIXED_KEYS } from "../config/setting.ts";
import type { ConfigSource, RawSection } from "../config/source.ts";

/**
 * @param fixed Names of keys that stay as they are, beside those that always do.
 * @returns a line for each key outside `[Peer]` that has another value now; secrets aside.
 */
export function changesBetween(
  before: ConfigSource,
  after: ConfigSource,
  fixed: readonly string[] = [],
): string[] {
  const stay = [...FIXED_KEYS, ...fixed];
  const ofKeys = KEYS.flatMap((key) => {
    if (isRepeated(key.section) || key.secret || key.inert || stay.includes(key.name)) return [];
    const [old, now] = [textOf(before, key), textOf(after, key)];
    const isWhole = key.list === undefined ||
      MISSING_IS_ALL.includes(key.field) && (old === undefined) !== (now === undefined);
    const change = isWhole
      ? changeOf(old, now)
      : listChange(listOf(before, key), listOf(after, key));
    return change === undefined ? [] : [`${key.name}: ${change}`];
  });
  return [...ofKeys, ...ruleChanges(before, after)];
}

/** Lists that are not empty where they are missing: nothing is added to them, or removed. */
const MISSING_IS_ALL: readonly string[] = ["protocols", "accessProtocols"];

/** Rules have no names: they are counted. */
function ruleChanges(before: ConfigSource, after: ConfigSource): string[] {
  const [old, now] = [before, after].map(({ rules }) =>
    (rules as readonly RawSection[] ?? []).map((rule) => JSON.stringify(rule))
  ) as [string[], string[]];
  const changes = counted(missingFrom(old, now), "added")
    .concat(counted(missingFrom(now, old), "removed"));
  if (changes.length === 0 && old.join() !== now.join()) changes.push("in another order");
  return changes.length === 0 ? [] : [`rules: ${changes.join(", ")}`];
}

function counted(count: number, what: string): string[] {
  return count === 0 ? [] : [`${count} ${what}`];
}

/** How many of `list` are not in `other`, each counted as often as it is there. */
function missingFrom(other: readonly string[], list: readonly string[]): number {
  const left = new Map<string, number>();
  for (const one of other) left.set(one, (left.get(one) ?? 0) + 1);
  return list.filter((one) => {
    const count = left.get(one) ?? 0;
    left.set(one, count - 1);
    return count <= 0;
  }).length;
}

function changeOf(before: string | undefined, after: string | undefined) {
  if (before === after) return undefined;
  return `${before ?? "default"} -> ${after ?? "default"}`;
}

function listChange(before: readonly string[], after: readonly string[]): string | undefined {
  const [old, now] = [new Set(before), new Set(after)];
  const changes = [
    ...few([...now].filter((value) => !old.has(value)), "added"),
    ...few([...old].filter((value) => !now.has(value)), "removed"),
  ];
  return changes.length > 0 ? changes.join(", ") : undefined;
}

/** Values of a list that a line names; of more only the number. */
const MOST_NAMED = 20;

function few(values: readonly string[], what: string): string[] {
  const named = values.slice(0, MOST_NAMED).map((value) => `${value} ${what}`);
  const more = values.length - named.length;
  return more > 0 ? [...named, `${more} more ${what}`] : named;
}

function textOf(source: ConfigSource, key: Key): string | undefined {
  const value = valueOf(source, key);
  return value === undefined ? undefined : valueText(value).trim();
}

function listOf(source: ConfigSource, key: Key): string[] {
  const value = valueOf(source, key) ?? [];
  return Array.isArray(value) ? value.map(String) : String(value).split(/\s*,\s*/);
}

function valueOf(source: ConfigSource, key: Key): unknown {
  return (source[key.section] as RawSection | undefined)?.[key.field];
}
