/**
 * What differs between two configurations of a gateway, in words, for the user who reloads it.
 *
 * @module
 */

import { isRepeated, type Key, KEYS } from "../config/keys.ts";
import { FIXED_KEYS } from "../config/setting.ts";
import type { ConfigSource, RawSection } from "../config/source.ts";

/** @returns a line for each key of `[Interface]` and `[Proxy]`, and each rule, that is another one now; secrets aside. */
export function changesBetween(before: ConfigSource, after: ConfigSource): string[] {
  const lines = KEYS.flatMap((key) => {
    if (isRepeated(key.section) || key.secret || key.inert || FIXED_KEYS.includes(key.name)) {
      return [];
    }
    const change = key.list === undefined
      ? changeOf(textOf(before, key), textOf(after, key))
      : listChange(listOf(before, key), listOf(after, key));
    return change === undefined ? [] : [`${key.name}: ${change}`];
  });
  return [...lines, ...ruleChanges(before.rules, after.rules)];
}

/** A line for each rule that is another one now, by its number. */
function ruleChanges(before: unknown, after: unknown): string[] {
  const [old, now] = [before, after].map((rules) => Array.isArray(rules) ? rules : []);
  const lines: string[] = [];
  for (let i = 0; i < Math.max(old!.length, now!.length); i++) {
    if (JSON.stringify(old![i]) === JSON.stringify(now![i])) continue;
    const what = i >= old!.length ? "added" : i >= now!.length ? "removed" : "changed";
    lines.push(`rule ${i + 1}: ${what}`);
  }
  return lines;
}

function changeOf(before: string | undefined, after: string | undefined) {
  if (before === after) return undefined;
  return `${before ?? "default"} -> ${after ?? "default"}`;
}

function listChange(before: readonly string[], after: readonly string[]): string | undefined {
  const added = after.filter((value) => !before.includes(value)).map((value) => `${value} added`);
  const removed = before.filter((value) => !after.includes(value))
    .map((value) => `${value} removed`);
  return added.length + removed.length > 0 ? [...added, ...removed].join(", ") : undefined;
}

function textOf(source: ConfigSource, key: Key): string | undefined {
  const value = valueOf(source, key);
  return value === undefined ? undefined : String(value).trim();
}

function listOf(source: ConfigSource, key: Key): string[] {
  const value = valueOf(source, key) ?? [];
  return Array.isArray(value) ? value.map(String) : String(value).split(/\s*,\s*/);
}

function valueOf(source: ConfigSource, key: Key): unknown {
  return (source[key.section] as RawSection | undefined)?.[key.field];
}
