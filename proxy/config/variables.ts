/**
 * Configuration by variables: of the environment, or of a `.env` file. `WIRESTACK_` and the flag in
 * capitals; what there are several of, peers, is JSON.
 *
 * @module
 */

import { parseJson } from "./json.ts";
import {
  isRepeated,
  type Key,
  KEYS,
  type RepeatedSection,
  secretVariableOf,
  type Section,
  SECTION_NAMES,
  shownVariable,
  variableOf,
  variableOfList,
} from "./keys.ts";
import type { ConfigSource, Origin } from "./source.ts";
import { suggest } from "./suggest.ts";
import { TreeError } from "./tree.ts";
import { fillList } from "./tree_source.ts";
import { splitValues } from "./values.ts";

export interface Variable {
  readonly name: string;
  readonly value: string;
  readonly origin: Origin;
}

type Meaning =
  /** `isFile`: the value names a file that holds the key's. */
  | { readonly key: Key; readonly section: Section; readonly isFile?: true }
  /** All sections of a kind, as JSON. */
  | { readonly section: RepeatedSection };

const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ...KEYS.flatMap((key): [string, Meaning][] => {
    const name = variableOf(key);
    if (name === undefined) return [];
    const { section } = key;
    if (!key.secret) return [[name, { key, section }]];
    return [
      [name, { key, section, isFile: true }],
      [secretVariableOf(key)!, { key, section }],
    ];
  }),
  ...(Object.keys(SECTION_NAMES) as Section[]).filter(isRepeated).map((
    section,
  ): [string, Meaning] => [variableOfList(section), { section }]),
]);

/** Every name there is: what the program asks permission for. */
export const VARIABLE_NAMES: readonly string[] = [...MEANINGS.keys()];

/** Puts the values of variables over those of a file. An empty value is none. */
export function applyVariables(source: ConfigSource, variables: readonly Variable[]): void {
  const given = new Map<string, string>();
  for (const { name, value, origin } of variables) {
    const meaning = MEANINGS.get(name);
    if (meaning === undefined) {
      const near = suggest(name, VARIABLE_NAMES);
      source.problemAt(
        "line" in origin ? { ...origin, name: shownVariable(name) } : origin,
        "unknown variable, " +
          (near ? `did you mean ${near}?` : "expected one of docs/configuration.md"),
      );
      continue;
    }
    if (value.trim() === "") continue;
    if (!("key" in meaning)) {
      applyList(source, meaning.section, name, value, origin);
      continue;
    }
    const { key, section, isFile } = meaning;
    const before = given.get(`${section}.${key.field}`);
    if (before !== undefined) {
      source.problemAt(origin, `given beside ${before}, expected one of them`);
      continue;
    }
    given.set(`${section}.${key.field}`, name);
    const path = source.ensure(section, origin);
    if (isFile) source.setFile(path, key, value.trim(), origin);
    else if (key.list === undefined) source.set(path, key, value, origin);
    else {
      source.set(path, key, [], origin);
      source.append(path, key, key.list === "line" ? [value] : splitValues(key, value), origin);
    }
  }
}

function applyList(
  source: ConfigSource,
  section: RepeatedSection,
  name: string,
  value: string,
  origin: Origin,
): void {
  const place = (line: number, path: string): Origin =>
    "line" in origin
      ? { ...origin, line: origin.line + line - 1, name: `${name}${path}` }
      : { ...origin, name: path };
  try {
    fillList(source, section, parseJson(value), place, true);
  } catch (error) {
    if (!(error instanceof TreeError)) throw error;
    source.problemAt(place(error.line, ""), error.message);
  }
}
