/**
 * Values as they were written, with the place of each, so that a later message about one can point
 * there.
 *
 * @module
 */

import type { ConfigInput } from "./input.ts";
import type { ConfigPath } from "./error.ts";
import { findField, isRepeated, type Key, type Section, SECTION_NAMES } from "./keys.ts";

/** Where a value was written. */
export type Origin =
  | { readonly file: string; readonly line: number }
  /** The flag with its dashes. */
  | { readonly flag: string };

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
  proxy: unknown = undefined;

  readonly #origins = new Map<string, Origin>();
  readonly #faulty = new Set<string>();
  readonly #problems: Note[] = [];
  readonly #warnings: Note[] = [];

  /** @param origin Where missing values are reported; none for an object. */
  constructor(origin?: Origin) {
    if (origin !== undefined) this.#origins.set("", origin);
  }

  static fromObject(input: ConfigInput): ConfigSource {
    const source = new ConfigSource();
    if (typeof input !== "object" || input === null) {
      throw new TypeError(
        `a configuration is an object, got ${input === null ? input : typeof input}`,
      );
    }
    for (const [name, value] of Object.entries(input)) {
      if (name === "rules" || name === "interface" || name === "peers" || name === "proxy") {
        source[name] = value;
      } else source.problem([name], "unknown section, expected interface, peers, rules or proxy");
    }
    return source;
  }

  /** The same values from the same places, to be changed by themselves. What was said of them is not. */
  copy(): ConfigSource {
    const copy = new ConfigSource();
    for (const section of ["interface", "peers", "rules", "proxy"] as const) {
      const values = this[section];
      copy[section] = Array.isArray(values)
        ? values.map((each) => ({ ...each }))
        : values && { ...values };
    }
    for (const [name, origin] of this.#origins) copy.#origins.set(name, origin);
    return copy;
  }

  /** Begins a section. @returns its path. */
  open(section: Section, origin: Origin): ConfigPath {
    let path: ConfigPath = [section];
    if (isRepeated(section)) {
      const sections = this[section] as RawSection[];
      path = [section, sections.push({}) - 1];
    } else if (section === "proxy") {
      this.proxy ??= {};
    }
    this.#origins.set(path.join("."), origin);
    return path;
  }

  /** Forgets every section of a kind that may be repeated. */
  clear(section: "peers" | "rules"): void {
    this[section] = [];
    for (const name of this.#origins.keys()) {
      if (name.startsWith(`${section}.`)) this.#origins.delete(name);
    }
  }

  /** A section that {@link open} made. */
  section(path: ConfigPath): RawSection {
    const section = this[path[0] as Section];
    return (path.length === 1
      ? section
      : (section as RawSection[])[path[1] as number]) as RawSection;
  }

  /** Whether the key has a value. */
  has(section: ConfigPath, key: Key): boolean {
    return this.section(section)[key.field] !== undefined;
  }

  /** Sets a single value, or the values of a list. Whatever the key had is gone. */
  set(section: ConfigPath, key: Key, value: string | readonly string[], origin: Origin): void {
    this.section(section)[key.field] = value;
    const name = [...section, key.field].join(".");
    for (let i = 0; this.#origins.delete(`${name}.${i}`); i++);
    this.#origins.set(name, origin);
  }

  /** Adds to the values of a list. */
  append(section: ConfigPath, key: Key, values: readonly string[], origin: Origin): void {
    const list = (this.section(section)[key.field] ??= []) as string[];
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
   * or, for an embedder's object, `peers[0].publicKey`. A value that is missing is placed where its
   * section begins.
   */
  label(path: ConfigPath): string {
    const { origin, depth } = this.#nearest(path);
    const section = path[0] as Section;
    const inSection = isRepeated(section) ? 2 : 1;
    const key = findField(section, String(path[inSection]));
    if (origin === undefined) return formatPath(path);
    if ("flag" in origin) {
      return depth <= inSection && key?.flag !== undefined ? `--${key.flag}` : origin.flag;
    }
    const name = key?.name ?? `[${SECTION_NAMES[section] ?? section}]`;
    return `${origin.file}:${origin.line}: ${name}`;
  }

  /** The place alone: `FILE:LINE`, `--flag` or `peers[0].publicKey`. */
  place(path: ConfigPath): string {
    const { origin } = this.#nearest(path);
    if (origin === undefined) return formatPath(path);
    return "flag" in origin ? origin.flag : `${origin.file}:${origin.line}`;
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
   * @param message Begins with the name of what is wrong.
   */
  problemAt(origin: Origin, message: string): void {
    const place = "flag" in origin ? origin.flag : `${origin.file}:${origin.line}`;
    this.#problems.push({ line: lineOf(origin), text: `${place}: ${message}` });
  }

  warn(path: ConfigPath, message: string): void {
    this.#warnings.push({ line: this.#line(path), text: `${this.label(path)}: ${message}` });
  }

  /** In the order of the file, then of discovery. */
  problems(): string[] {
    return inOrder(this.#problems);
  }

  warnings(): string[] {
    return inOrder(this.#warnings);
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

/** For the order of messages: those without a line come last. */
function lineOf(origin: Origin | undefined): number {
  return origin !== undefined && "line" in origin ? origin.line : Infinity;
}

function inOrder(notes: readonly Note[]): string[] {
  const byLine = notes.toSorted((a, b) => a.line === b.line ? 0 : a.line - b.line);
  return byLine.map((note) => note.text);
}

function formatPath(path: ConfigPath): string {
  let text = "";
  for (const part of path) {
    text += typeof part === "number" ? `[${part}]` : text === "" ? part : `.${part}`;
  }
  return text;
}
