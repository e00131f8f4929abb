/**
 * From a tree to a source: the names are those of an embedder's object.
 *
 * @module
 */

import type { ConfigPath } from "./error.ts";
import {
  fileFieldOf,
  findField,
  findFileField,
  isRepeated,
  type Key,
  KEYS,
  type RepeatedSection,
  type Section,
  SECTION_NAMES,
} from "./keys.ts";
import { type ConfigSource, formatPath, type Origin, type RawSection } from "./source.ts";
import { suggest } from "./suggest.ts";
import { type MapNode, toValue, type Tree } from "./tree.ts";
import { splitValues } from "./values.ts";

/** Where something was written: its line, and its path in what was written. */
export type Place = (line: number, path: string) => Origin;

const SECTIONS = Object.keys(SECTION_NAMES) as Section[];

/** Puts a whole configuration into a source. */
export function fillFromTree(source: ConfigSource, tree: Tree, place: Place): void {
  if (isNothing(tree)) return;
  if (tree.kind !== "map") {
    source.problemAt(place(tree.line, "line"), `${kindOf(tree)}, expected ${SECTIONS.join(", ")}`);
    return;
  }
  for (const { name, line, value } of withoutRepeats(source, tree, [], place)) {
    const section = SECTIONS.find((section) => section === name);
    if (name === "include") includes(source, value, place);
    else if (section === undefined) {
      const near = suggest(name, [...SECTIONS, "include"]);
      source.problemAt(
        place(line, shown(name)),
        "unknown section, " +
          (near ? `did you mean ${near}?` : `expected ${SECTIONS.join(", ")} or include`),
      );
    } else if (isRepeated(section)) {
      fillList(source, section, value, (line, path) => place(line, `${section}${path}`));
    } else if (!isNothing(value) && value.kind !== "map") {
      const what = `${kindOf(value)}, expected an object with the keys of the section`;
      source.problemAt(place(value.line, name), what);
    } else if (isWritten(source.origin([section]))) {
      const first = source.place([section]);
      source.problemAt(
        place(line, name),
        `second section of this name, expected one (the first is at ${first})`,
      );
    } else {
      const path = source.open(section, place(line, name));
      if (value.kind === "map") fillSection(source, path, value, [name], place);
    }
  }
}

/**
 * Puts the sections of which there are several into a source.
 *
 * @param place Called with paths such as `[0].publicKey`.
 * @param override The list stands over what the source has: peers with the same key are changed, as
 * by flags; of other sections, whose order counts, the whole list is replaced.
 */
export function fillList(
  source: ConfigSource,
  section: RepeatedSection,
  tree: Tree,
  place: Place,
  override = false,
): void {
  if (isNothing(tree)) return;
  if (tree.kind !== "list") {
    source.problemAt(place(tree.line, ""), `${kindOf(tree)}, expected a list of ${section}`);
    return;
  }
  if (override && section !== "peers") source.clear(section);
  const before = new Set((source.peers as RawSection[]).map(({ publicKey }) => publicKey));
  tree.items.forEach((item, i) => {
    const origin = place(item.line, `[${i}]`);
    if (item.kind !== "map") {
      source.problemAt(origin, `${kindOf(item)}, expected an object`);
      return;
    }
    const path = override && section === "peers" ? known(source, item, before) : undefined;
    fillSection(source, path ?? source.open(section, origin), item, [i], place);
  });
}

/** The peer with the same key that another place has, once: a second is a repetition. */
function known(source: ConfigSource, item: MapNode, before: Set<unknown>): ConfigPath | undefined {
  const key = item.entries.find(({ name }) => name === "publicKey")?.value;
  if (key?.kind !== "plain" || !before.delete(key.value)) return undefined;
  return source.findPeer(String(key.value));
}

/** @param written The section's path in what was written. */
function fillSection(
  source: ConfigSource,
  path: ConfigPath,
  tree: MapNode,
  written: ConfigPath,
  place: Place,
): void {
  const section = path[0] as Section;
  for (const { name, line, value } of withoutRepeats(source, tree, written, place)) {
    const key = findField(section, name);
    const fileKey = findFileField(section, name);
    const writtenName = formatPath([...written, shown(name)]);
    const origin = place(line, writtenName);
    const other = fileKey && source.beside(path, fileKey);
    if (key !== undefined) fillValue(source, path, key, value, line, writtenName, place);
    else if (fileKey === undefined) source.problemAt(origin, unknownField(section, name));
    else if (value.kind !== "plain" || value.value === null) {
      source.problemAt(origin, `${kindOf(value)}, expected the name of a file`);
    } else if (other !== undefined) source.problemAt(origin, other);
    else source.setFile(path, fileKey, String(value.value), origin);
  }
}

function fillValue(
  source: ConfigSource,
  path: ConfigPath,
  key: Key,
  tree: Tree,
  line: number,
  name: string,
  place: Place,
): void {
  const origin = place(line, name);
  const other = key.secret && source.beside(path, key);
  if (isNothing(tree)) source.problemAt(origin, "has no value, expected one");
  else if (other) source.problemAt(origin, other);
  else if (key.list === undefined || tree.kind === "map") {
    source.set(path, key, toValue(tree), origin);
  } else if (tree.kind === "plain") {
    const text = String(tree.value);
    source.set(path, key, [], origin);
    source.append(path, key, key.list === "line" ? [text] : splitValues(key, text), origin);
  } else {
    source.set(path, key, [], origin);
    tree.items.forEach((item, i) => {
      source.append(path, key, [toValue(item)], place(item.line, `${name}[${i}]`));
    });
  }
}

function unknownField(section: Section, name: string): string {
  const fields = KEYS.filter((key) => key.section === section)
    .flatMap((key) => key.secret ? [key.field, fileFieldOf(key)] : [key.field]);
  const near = suggest(name, fields);
  if (near !== undefined) return `unknown key, did you mean ${near}?`;
  const other = KEYS.find((key) => key.field === name);
  return other === undefined
    ? `unknown key, expected ${fields.join(", ")}`
    : `does not belong in ${section}, expected in ${other.section}`;
}

function includes(source: ConfigSource, tree: Tree, place: Place): void {
  for (const item of tree.kind === "list" ? tree.items : [tree]) {
    const origin = place(item.line, "include");
    if (item.kind === "plain" && item.value !== null) source.include(String(item.value), origin);
    else source.problemAt(origin, `${kindOf(item)}, expected a pattern such as peers/*.yaml`);
  }
}

/** Says what is there twice. */
function withoutRepeats(
  source: ConfigSource,
  tree: MapNode,
  written: ConfigPath,
  place: Place,
): MapNode["entries"] {
  const lines = new Map<string, number>();
  return tree.entries.filter(({ name, line }) => {
    const first = lines.get(name);
    lines.set(name, first ?? line);
    if (first === undefined) return true;
    source.problemAt(
      place(line, formatPath([...written, shown(name)])),
      `given twice, expected it once (the first is on line ${first})`,
    );
    return false;
  });
}

/** A name may be a secret that slipped. */
function shown(name: string): string {
  return /^[A-Za-z][A-Za-z0-9_]{0,23}$/.test(name) ? name : "line";
}

function isNothing(tree: Tree): boolean {
  return tree.kind === "plain" && tree.value === null;
}

/** A section that stands in a file, not one that a flag or a variable has begun. */
function isWritten(origin: Origin | undefined): boolean {
  return origin !== undefined && "line" in origin;
}

function kindOf(tree: Tree): string {
  if (tree.kind !== "plain") return tree.kind === "map" ? "is an object" : "is a list";
  return tree.value === null ? "has no value" : "is a plain value";
}
