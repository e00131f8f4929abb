/**
 * `check --show-origin`: every value, and where it comes from.
 *
 * @module
 */

import type { ConfigPath } from "../config/error.ts";
import { defaultOf, valueText } from "../config/describe.ts";
import { isRepeated, type Key, KEYS, type Section, SECTION_NAMES } from "../config/keys.ts";
import type { ConfigSource, Origin, RawSection } from "../config/source.ts";

/**
 * One line each, as `git config --show-origin` has it: the place, a tab, `Section.Key = value`. A
 * peer is called by its name, or its number from 1. Values of a list that come from several places
 * have a line each. Secrets are not shown, what is neither given nor has a default is left out.
 */
export function formatOrigins(source: ConfigSource): string {
  return (Object.keys(SECTION_NAMES) as Section[]).flatMap((section) => {
    const values = source[section];
    if (!isRepeated(section)) {
      return values === undefined ? [] : formatSection(source, [section], SECTION_NAMES[section]);
    }
    return (values as RawSection[] | undefined ?? []).flatMap((item, i) => {
      const name = typeof item.name === "string" ? item.name : String(i + 1);
      return formatSection(source, [section, i], `${SECTION_NAMES[section]}.${name}`);
    });
  }).map((line) => `${line}\n`).join("");
}

function formatSection(source: ConfigSource, path: ConfigPath, name: string): string[] {
  const section = source.section(path);
  return KEYS.filter((key) => key.section === path[0]).flatMap((key) => {
    const value = section[key.field];
    const line = (origin: string, text: string) => `${origin}\t${name}.${key.name} = ${text}`;
    if (value === undefined) {
      const otherwise = defaultOf(key);
      return otherwise === undefined ? [] : [line("default", otherwise)];
    }
    if (key.secret) return [line(describe(source, [...path, key.field], key), "(hidden)")];
    if (!Array.isArray(value)) {
      return [line(describe(source, [...path, key.field], key), oneLine(valueText(value)))];
    }
    const groups = new Map<string, string[]>();
    value.forEach((item, i) => {
      const origin = describe(source, [...path, key.field, i], key);
      groups.set(origin, [...groups.get(origin) ?? [], oneLine(valueText(item))]);
    });
    return Array.from(groups, ([origin, items]) => line(origin, items.join(", ")));
  });
}

function describe(source: ConfigSource, path: ConfigPath, key: Key): string {
  const origin = source.origin(path) ?? source.origin(path.slice(0, path.indexOf(key.field) + 1));
  return origin === undefined ? "?" : describeOrigin(origin);
}

function describeOrigin(origin: Origin): string {
  if ("flag" in origin) return `flag ${origin.flag}`;
  if ("variable" in origin) return `environment ${origin.variable}`;
  return `${origin.file}:${origin.line}`;
}

/** A value may hold what a terminal would obey. */
function oneLine(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}
