/**
 * The wg-quick file, as `wg` and `wg-quick` read it: sections and keys in any case, `#` begins a
 * comment anywhere, keys that hold lists may be repeated. Two sections are ours, `[Proxy]` and
 * `[Rule]`. A comment
 * behind or directly below `[Peer]` names the peer, where there is no `Name`: people have written
 * their names there before there was a key for it.
 *
 * @module
 */

import { otherDialect } from "./dialects.ts";
import type { ConfigPath } from "./error.ts";
import {
  findFileKey,
  findKey,
  findSection,
  isRepeated,
  type Key,
  KEYS,
  type Section,
  SECTION_NAMES,
} from "./keys.ts";
import { ConfigSource, type Origin, type RawSection } from "./source.ts";
import { suggest } from "./suggest.ts";
import { ParseFailure, parsePeerName, splitValues } from "./values.ts";

/**
 * Splits a file into values with their places. Never throws: what is wrong with the file's form is
 * kept in the source, along with whatever could be read.
 *
 * @param file The name to put into messages.
 * @param source Another file's, to which this one is added.
 */
export function parseConfigFile(
  text: string,
  file: string,
  source: ConfigSource = new ConfigSource({ file, line: 1 }),
): ConfigSource {
  const parser = new Parser(source, file);
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n|\r/);
  lines.forEach((line, index) => parser.line(line, index + 1));
  parser.end();
  return source;
}

class Parser {
  readonly #source: ConfigSource;
  readonly #file: string;
  /** Undefined before the first section; null in one that is unknown or a second of its kind. */
  #path: ConfigPath | null | undefined;
  /** Comments that may be names. */
  readonly #comments: { path: ConfigPath; name: string; origin: Origin }[] = [];

  constructor(source: ConfigSource, file: string) {
    this.#source = source;
    this.#file = file;
  }

  line(text: string, line: number): void {
    const origin = { file: this.#file, line };
    const hash = text.indexOf("#");
    const content = (hash < 0 ? text : text.slice(0, hash)).trim();
    if (content.startsWith("[")) this.#header(content, origin);
    else if (content !== "") this.#assignment(content, origin);
    if (this.#path?.[0] === "peers" && hash >= 0 && (content === "" || content.startsWith("["))) {
      this.#comment(this.#path, text.slice(hash + 1).trim(), origin);
    }
  }

  /** Names peers without a `Name` by their comment, unless another peer has that name. */
  end(): void {
    const peers = this.#source.peers as RawSection[];
    const taken = new Set(peers.map(({ name }) => String(name).toLowerCase()));
    for (const { path, name, origin } of this.#comments) {
      if (this.#source.has(path, NAME) || taken.has(name.toLowerCase())) continue;
      taken.add(name.toLowerCase());
      this.#source.set(path, NAME, name, origin);
    }
  }

  #comment(path: ConfigPath, text: string, origin: { file: string; line: number }): void {
    const { line } = this.#source.origin(path) as { line: number };
    if (origin.line > line + 1) return;
    const name = parsePeerName(text);
    if (!(name instanceof ParseFailure)) this.#comments.push({ path, name, origin });
  }

  #header(content: string, origin: { file: string; line: number }): void {
    const name = /^\[\s*([A-Za-z][A-Za-z0-9]{0,23})\s*\]$/.exec(content)?.[1];
    this.#path = null;
    if (name === undefined) {
      this.#source.problemAt(origin, `section: malformed, expected ${SECTIONS_EXPECTED}`);
      return;
    }
    const section = findSection(name);
    if (section === undefined) {
      const near = suggest(name, Object.values(SECTION_NAMES));
      const dialect = otherDialect(`[${name}]`);
      this.#source.problemAt(
        origin,
        `[${name}]: ${
          dialect ??
            `unknown section, ${near ? `did you mean [${near}]?` : `expected ${SECTIONS_EXPECTED}`}`
        }`,
      );
      return;
    }
    const first = isRepeated(section) ? undefined : this.#source.origin([section]);
    if (first !== undefined && "line" in first) {
      const where = first.file === this.#file
        ? `on line ${first.line}`
        : `at ${this.#source.place([section])}`;
      this.#source.problemAt(
        origin,
        `[${
          SECTION_NAMES[section]
        }]: second section of this name, expected one (the first is ${where})`,
      );
      return;
    }
    this.#path = this.#source.open(section, origin);
  }

  #assignment(content: string, origin: { file: string; line: number }): void {
    const path = this.#path;
    if (path === null) return;
    const equals = content.indexOf("=");
    const name = (equals < 0 ? content : content.slice(0, equals)).trim();
    const mayInclude = path === undefined || path[0] === "interface";
    if (mayInclude && equals >= 0 && /^include$/i.test(name)) {
      this.#source.include(content.slice(equals + 1).trim(), { ...origin, name: "Include" });
      return;
    }
    if (path === undefined) {
      // Said once: a file of another kind is all such lines.
      this.#path = null;
      this.#source.problemAt(
        origin,
        `${nameToShow(name)}: stands before the first section, expected [Interface] above it`,
      );
      return;
    }
    const section = path[0] as Section;
    const key = findKey(section, name);
    const fileKey = findFileKey(section, name);
    if (content.startsWith(";") || key && key.list !== "line" && /\s;/.test(content)) {
      this.#source.problemAt(
        origin,
        `${nameToShow(name)}: a ; begins no comment here, expected # in its place`,
      );
      return;
    }
    if (fileKey !== undefined && equals >= 0) {
      const placed = { ...origin, name: `${fileKey.name}File` };
      const beside = this.#source.beside(path, fileKey);
      const file = content.slice(equals + 1).trim();
      if (beside !== undefined) this.#source.problemAt(placed, beside);
      else this.#source.setFile(path, fileKey, file, placed);
      return;
    }
    if (key === undefined) {
      const message = unknownKey(section, name, equals >= 0);
      this.#source.problemAt(origin, `${nameToShow(name)}: ${message}`);
      return;
    }
    if (equals < 0) {
      this.#source.problemAt(origin, `${key.name}: has no value, expected ${key.name} = VALUE`);
      return;
    }
    this.#value(path, key, content.slice(equals + 1).trim(), origin);
  }

  #value(
    path: ConfigPath,
    key: Key,
    value: string,
    origin: { file: string; line: number },
  ): void {
    if (key.list === "comma" || key.list === "names") {
      this.#source.append(path, key, splitValues(key, value), origin);
    } else if (key.list === "line") {
      this.#source.append(path, key, [value], origin);
    } else if (this.#source.has(path, key)) {
      const first = this.#source.origin([...path, key.field]);
      const line = first !== undefined && "line" in first ? first.line : 0;
      this.#source.problemAt(
        origin,
        `${key.name}: given twice, expected it once (the first is on line ${line})`,
      );
    } else {
      this.#source.set(path, key, value, origin);
    }
  }
}

const NAME = findKey("peers", "Name")!;

const SECTIONS_EXPECTED = Object.values(SECTION_NAMES).map((name) => `[${name}]`).join(", ")
  .replace(/, (\S+)$/, " or $1");

/**
 * A mistyped line may hold a private key anywhere, even in front of its `=`. Only what cannot be
 * one is shown.
 */
function nameToShow(name: string): string {
  return /^[A-Za-z][A-Za-z0-9]{0,23}$/.test(name) ? name : "line";
}

function unknownKey(section: Section, name: string, assigned: boolean): string {
  const here = SECTION_NAMES[section];
  const elsewhere = KEYS.find((key) => key.name.toLowerCase() === name.toLowerCase());
  if (elsewhere !== undefined) {
    return `does not belong in [${here}], expected in [${SECTION_NAMES[elsewhere.section]}]`;
  }
  const dialect = otherDialect(name);
  if (dialect !== undefined) return dialect;
  const firstWord = /^[A-Za-z0-9]+/.exec(name)?.[0] ?? "";
  const misspelt = nameToShow(name) === name;
  const near = suggest(
    misspelt ? name : firstWord,
    KEYS.filter((key) => key.section === section)
      .flatMap((key) => key.secret ? [key.name, `${key.name}File`] : [key.name]),
  );
  if (!misspelt || !assigned) {
    return `not a setting, expected ${near ?? "KEY"} = VALUE`;
  }
  return near
    ? `unknown key, did you mean ${near}?`
    : `unknown key, expected one that [${here}] has (see docs/configuration.md)`;
}
