/**
 * Values as they were written, with the place of each, so that a later message about one can point
 * there.
 *
 * @module
 */

import type { ConfigInput } from "./input.ts";
import type { ConfigPath } from "./error.ts";
import { shownPath } from "./values.ts";
import {
  findField,
  isRepeated,
  type Key,
  type RepeatedSection,
  type Section,
  SECTION_NAMES,
  variableOf,
} from "./keys.ts";

/** Where a value was written. */
export type Origin =
  | {
    readonly file: string;
    readonly line: number;
    /** What it is called there, where that is not the key's name in a wg-quick file. */
    readonly name?: string;
    /** In a file of variables. */
    readonly isVariable?: true;
  }
  /** The flag with its dashes; of `set`, the setting: `Rule.3.Rate`, or a module's `rules.3.rate`. */
  | { readonly flag: string; readonly isSetting?: true }
  /** Of the environment. `name`: the path in its JSON, as `[0].publicKey`. */
  | { readonly variable: string; readonly name?: string };

/** A file that holds a secret. */
export interface SecretFile {
  readonly section: ConfigPath;
  readonly key: Key;
  readonly file: string;
  readonly origin: Origin;
}

/** Unchecked values of a section, by their names in {@link ConfigInput}. */
export type RawSection = Record<string, unknown>;

interface Note {
  readonly line: number;
  readonly text: string;
}

export class ConfigSource {
  /** Not an object when an embedder passed something else. */
  interface: unknown = {};
  /** Not an array when an embedder passed something else. */
  peers: unknown = [];
  /** As {@link peers}. */
  rules: unknown = [];
  /** As {@link peers}. */
  links: unknown = [];
  proxy: unknown = undefined;
  relay: unknown = undefined;
  status: unknown = undefined;
  capture: unknown = undefined;
  log: unknown = undefined;

  /** Whether there is to be a device of the operating system, as wg-quick makes it. */
  hasDevice = false;
  /** Whether programs of this host get into the tunnel without one. */
  hasInbound = false;
  /** Links were spoken of, though there may be none. */
  hasLinks = false;
  /** What could be read is not worth further messages. */
  isUnreadable = false;
  /** Patterns of files to be read as well, in the order given. */
  readonly includes: { readonly pattern: string; readonly origin: Origin }[] = [];

  readonly #origins = new Map<string, Origin>();
  readonly #secretFiles = new Map<string, SecretFile>();
  readonly #faulty = new Set<string>();
  readonly #problems: Note[] = [];
  readonly #warnings: Note[] = [];

  /** @param origin Where missing values are reported; none for an object. */
  constructor(origin?: Origin) {
    if (origin !== undefined) this.#origins.set("", origin);
  }

  /** Whether this host uses the tunnel itself. */
  get isClient(): boolean {
    return this.hasDevice || this.hasInbound;
  }

  static fromObject(input: ConfigInput): ConfigSource {
    const source = new ConfigSource();
    if (typeof input !== "object" || input === null) {
      throw new TypeError(
        `a configuration is an object, got ${input === null ? input : typeof input}`,
      );
    }
    for (const [name, value] of Object.entries(input)) {
      if (value === undefined) continue;
      if (name === "links") source.hasLinks = true;
      if (Object.hasOwn(SECTION_NAMES, name)) source[name as Section] = value;
      else source.problem([name], `unknown section, expected ${SECTIONS_EXPECTED}`);
    }
    return source;
  }

  /**
   * The same values from the same places, to be changed by themselves. What was said of them is not.
   *
   * @param shared A section that is not copied, and stays as it is.
   */
  copy(shared?: Section): ConfigSource {
    const copy = new ConfigSource();
    for (const section of Object.keys(SECTION_NAMES) as Section[]) {
      const values = this[section];
      copy[section] = section === shared
        ? values
        : Array.isArray(values)
        ? values.map((each) => ({ ...each }))
        : values && { ...values };
    }
    copy.hasLinks = this.hasLinks;
    for (const [name, origin] of this.#origins) copy.#origins.set(name, origin);
    return copy;
  }

  /** Begins a section. @returns its path. */
  open(section: Section, origin: Origin): ConfigPath {
    let path: ConfigPath = [section];
    if (isRepeated(section)) {
      const sections = this[section] as RawSection[];
      path = [section, sections.push({}) - 1];
    } else if (section !== "interface") {
      this[section] ??= {};
    }
    this.#origins.set(path.join("."), origin);
    return path;
  }

  /** Forgets every section of a kind that may be repeated. */
  clear(section: RepeatedSection): void {
    this[section] = [];
    for (const map of [this.#origins, this.#secretFiles]) {
      for (const name of map.keys()) if (name.startsWith(`${section}.`)) map.delete(name);
    }
  }

  /** A section that {@link open} made. */
  section(path: ConfigPath): RawSection {
    const section = this[path[0] as Section];
    return (path.length === 1
      ? section
      : (section as RawSection[])[path[1] as number]) as RawSection;
  }

  /** The path of a section of which there is one, which is begun if it is not there. */
  ensure(section: Section, origin: Origin): ConfigPath {
    if (this[section] === undefined) this.open(section, origin);
    return [section];
  }

  /** The path of the peer with a public key. */
  findPeer(publicKey: string): ConfigPath | undefined {
    const index = (this.peers as RawSection[]).findIndex((peer) => peer.publicKey === publicKey);
    return index < 0 ? undefined : ["peers", index];
  }

  /** Whether the key has a value, or a file that holds it. */
  has(section: ConfigPath, key: Key): boolean {
    return this.section(section)[key.field] !== undefined ||
      this.#secretFiles.has([...section, key.field].join("."));
  }

  /** What to say of a secret that is given when it has been given already, itself or by a file. */
  beside(section: ConfigPath, key: Key): string | undefined {
    if (!this.has(section, key)) return undefined;
    const first = this.place([...section, key.field]);
    return `given beside another key or file, expected one of them (the first is at ${first})`;
  }

  /** Sets a secret to what a file holds, which is not read here. */
  setFile(section: ConfigPath, key: Key, file: string, origin: Origin): void {
    const name = [...section, key.field].join(".");
    delete this.section(section)[key.field];
    this.#secretFiles.set(name, { section, key, file, origin });
    this.#origins.set(name, origin);
  }

  /** Files that are still to be read: {@link set} puts the value in their place. */
  get secretFiles(): readonly SecretFile[] {
    return [...this.#secretFiles.values()];
  }

  include(pattern: string, origin: Origin): void {
    this.includes.push({ pattern, origin });
  }

  /** Sets a single value, or the values of a list. Whatever the key had is gone. */
  set(section: ConfigPath, key: Key, value: unknown, origin: Origin): void {
    this.section(section)[key.field] = value;
    const name = [...section, key.field].join(".");
    this.#secretFiles.delete(name);
    for (let i = 0; this.#origins.delete(`${name}.${i}`); i++);
    this.#origins.set(name, origin);
  }

  /** Adds to the values of a list. */
  append(section: ConfigPath, key: Key, values: readonly unknown[], origin: Origin): void {
    const list = (this.section(section)[key.field] ??= []) as unknown[];
    const name = [...section, key.field].join(".");
    if (!this.#origins.has(name)) this.#origins.set(name, origin);
    for (const value of values) this.#origins.set(`${name}.${list.push(value) - 1}`, origin);
  }

  /** Where the value at `path` was written, if it was. */
  origin(path: ConfigPath): Origin | undefined {
    return this.#origins.get(path.join("."));
  }

  /**
   * The place and name of a value, as it stands in front of a message: `FILE:LINE: KEY`, `--flag`
   * a variable or, for an embedder's object, `peers[0].publicKey`. A value that is missing is placed
   * where its section begins.
   */
  label(path: ConfigPath): string {
    const { origin, depth } = this.#nearest(path);
    const section = path[0] as Section;
    const key = keyAt(path);
    if (origin === undefined) return formatPath(path);
    const isMissing = depth <= inSection(section);
    const missing = isMissing && key !== undefined ? nameBy(origin, key, path) : undefined;
    if (!("line" in origin)) return missing ?? labelOf(origin);
    if (origin.isVariable) {
      return missing === undefined ? labelOf(origin) : `${placeOf(origin)}: ${missing}`;
    }
    if (origin.name !== undefined) {
      const rest = formatPath([origin.name, ...path.slice(depth)].filter((part) => part !== ""));
      return `${placeOf(origin)}: ${rest}`;
    }
    const name = key?.name ?? `[${SECTION_NAMES[section] ?? section}]`;
    return `${placeOf(origin)}: ${name}`;
  }

  /**
   * What a key is called in a message about another one: as it was written, or as whoever wrote that
   * other one would: `Listen`, `status.listen`, `--status`, a variable.
   *
   * @param near The value that the message is about.
   */
  called(path: ConfigPath, near: ConfigPath): string {
    return this.#written(path, near).name;
  }

  /**
   * The same with a value, as it would be written: `PeerToPeer = true`, `interface.peerToPeer: true`,
   * `--peer-to-peer=true`.
   */
  assigned(path: ConfigPath, value: string, near: ConfigPath): string {
    const { name, equals } = this.#written(path, near);
    return `${name}${equals}${value}`;
  }

  /** The place alone: `FILE:LINE`, `--flag` or `peers[0].publicKey`. */
  place(path: ConfigPath): string {
    const { origin } = this.#nearest(path);
    return origin === undefined ? formatPath(path) : placeOf(origin);
  }

  /**
   * The first problem of a value counts; what is said of the same value later is not kept.
   *
   * @param message `what is wrong, what was expected`. Never with the value of a key.
   */
  problem(path: ConfigPath, message: string): void {
    const name = path.join(".");
    if (this.#faulty.has(name)) return;
    this.#faulty.add(name);
    this.#problems.push({ line: this.#line(path), text: `${this.label(path)}: ${message}` });
  }

  /**
   * A problem that belongs to no known value, such as an unknown key.
   *
   * @param message Begins with the name of what is wrong, if the origin has none.
   */
  problemAt(origin: Origin, message: string): void {
    this.#problems.push({ line: lineOf(origin), text: `${labelOf(origin)}: ${message}` });
  }

  /** A warning that belongs to no known value. */
  warnAt(origin: Origin, message: string): void {
    this.#warnings.push({ line: lineOf(origin), text: `${labelOf(origin)}: ${message}` });
  }

  warn(path: ConfigPath, message: string): void {
    this.#warnings.push({ line: this.#line(path), text: `${this.label(path)}: ${message}` });
  }

  /** In the order of the file, then of discovery. */
  problems(): string[] {
    return first(inOrder(this.#problems), "problems");
  }

  warnings(): string[] {
    return first(inOrder(this.#warnings), "warnings");
  }

  /** A key's name, and what stands between it and a value. */
  #written(path: ConfigPath, near: ConfigPath): Written {
    const key = keyAt(path)!;
    const own = this.origin(path);
    const origin = own ?? this.#nearest(near).origin;
    if (origin === undefined) return { name: formatPath(path), equals: ": " };
    const isVariable = "variable" in origin || "line" in origin && origin.isVariable === true;
    if ("flag" in origin || isVariable && !isRepeated(key.section)) {
      const name = own === undefined ? nameBy(origin, key, near) : writtenName(own);
      const isField = "flag" in origin && isFieldOf(origin);
      if (name !== undefined) return { name, equals: isField ? ": " : "=" };
    }
    if ("flag" in origin || !isVariable && writtenName(origin) === undefined) {
      return { name: key.name, equals: " = " };
    }
    if (own !== undefined) return { name: writtenName(own)!, equals: ": " };
    // Sections have numbers of their own in each file, and in a variable.
    const section = path.slice(0, inSection(key.section));
    const begun = this.origin(section);
    const prefix = (begun && writtenName(begun)) || formatPath(section);
    return { name: `${prefix}.${key.field}`, equals: ": " };
  }

  #nearest(path: ConfigPath): { origin: Origin | undefined; depth: number } {
    for (let depth = path.length; depth > 0; depth--) {
      const origin = this.#origins.get(path.slice(0, depth).join("."));
      if (origin !== undefined) return { origin, depth };
    }
    return { origin: this.#origins.get(""), depth: 0 };
  }

  #line(path: ConfigPath): number {
    return lineOf(this.#nearest(path).origin);
  }
}

/** The place alone: `FILE:LINE`, `--flag` or the variable. */
export function placeOf(origin: Origin): string {
  if ("flag" in origin) return origin.flag;
  return "variable" in origin ? origin.variable : `${shownPath(origin.file)}:${origin.line}`;
}

/** The number of the part of a path that names a key. */
function inSection(section: Section): number {
  return isRepeated(section) ? 2 : 1;
}

function keyAt(path: ConfigPath): Key | undefined {
  const section = path[0] as Section;
  return findField(section, String(path[inSection(section)]));
}

interface Written {
  readonly name: string;
  /** What stands behind it, before a value. */
  readonly equals: string;
}

/** What is written there: `--mtu`, `WIRESTACK_MTU`, `peers[0]`; undefined in a file with names of keys. */
function writtenName(origin: Origin): string | undefined {
  return "line" in origin ? origin.name : labelOf(origin);
}

/**
 * As whoever wrote one value would name another key; undefined in a file with names of keys, or without one.
 *
 * @param near Of the value that was written.
 */
function nameBy(origin: Origin, key: Key, near: ConfigPath): string | undefined {
  if ("line" in origin) return origin.isVariable && variableOf(key);
  if ("variable" in origin) return variableOf(key);
  if (!origin.isSetting) return key.flag && `--${key.flag}`;
  const isField = isFieldOf(origin);
  const section = near[0] === key.section
    ? origin.flag.slice(0, origin.flag.lastIndexOf("."))
    : isField
    ? key.section
    : SECTION_NAMES[key.section];
  return `${section}.${isField ? key.field : key.name}`;
}

/** Whether it is a setting of a module's object. */
function isFieldOf(origin: { readonly flag: string; readonly isSetting?: true }): boolean {
  return origin.isSetting === true && /^[a-z]/.test(origin.flag);
}

/** The place, and what the value is called there if that is known. */
function labelOf(origin: Origin): string {
  const place = placeOf(origin);
  if ("flag" in origin || !origin.name) return place;
  return "variable" in origin ? `${place}${origin.name}` : `${place}: ${origin.name}`;
}

/** For the order of messages: those without a line come last. */
function lineOf(origin: Origin | undefined): number {
  return origin !== undefined && "line" in origin ? origin.line : Infinity;
}

/** Of a file that is something else altogether, a line for each of its own helps nobody. */
const MOST_TOLD = 100;

function first(lines: readonly string[], what: string): string[] {
  if (lines.length <= MOST_TOLD) return [...lines];
  return [...lines.slice(0, MOST_TOLD), `and ${lines.length - MOST_TOLD} more ${what}`];
}

function inOrder(notes: readonly Note[]): string[] {
  const byLine = notes.toSorted((a, b) => a.line === b.line ? 0 : a.line - b.line);
  return byLine.map((note) => note.text);
}

/** `peers[0].publicKey`. */
export function formatPath(path: ConfigPath): string {
  let text = "";
  for (const part of path) {
    text += typeof part === "number" ? `[${part}]` : text === "" ? part : `.${part}`;
  }
  return text;
}

const SECTIONS_EXPECTED = Object.keys(SECTION_NAMES).join(", ").replace(/, (\w+)$/, " or $1");
