/**
 * `deno task docs:configuration`: brings the tables of docs/configuration.md, and the permissions for
 * variables of the environment in deno.json, to what the schema says. A test holds both to it.
 *
 * The document is its own template: its prose, and what a key means, is written there by hand, and
 * stays. A key that is new gets a row with its line of help.
 *
 * @module
 */

import { defaultOf, expectedOf, isRequired } from "../proxy/config/describe.ts";
import {
  fileFieldOf,
  type Key,
  KEYS,
  secretVariableOf,
  type Section,
  SECTION_NAMES,
  variableOf,
} from "../proxy/config/keys.ts";
import { VARIABLE_NAMES } from "../proxy/config/variables.ts";
import { formatted } from "./formatted.ts";

const DOCUMENT = new URL("../docs/configuration.md", import.meta.url);
const MANIFEST = new URL("../deno.json", import.meta.url);

/** Of systemd, and what says through which proxy a hub is called. */
export const OTHER_VARIABLES = [
  "CREDENTIALS_DIRECTORY",
  ...["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"],
];

const HEADER = ["key", "flag, variable", "meaning", "expected", "default"];

if (import.meta.main) {
  await Deno.writeTextFile(DOCUMENT, await documented(await Deno.readTextFile(DOCUMENT)));
  await Deno.writeTextFile(MANIFEST, permitted(await Deno.readTextFile(MANIFEST)));
}

/**
 * The document with its tables as the schema has them.
 *
 * @throws {Error} if a section has no heading, or no table below it.
 */
export async function documented(text: string): Promise<string> {
  let made = text;
  for (const [section, name] of Object.entries(SECTION_NAMES) as [Section, string][]) {
    const heading = made.indexOf(`\n## \`[${name}]\`\n`);
    const next = made.indexOf("\n## ", heading + 1);
    const table = /^\|.*\|\n(?:\|.*\|\n)*/m.exec(made.slice(heading, next < 0 ? undefined : next));
    if (heading < 0 || table === null) {
      throw new Error(`docs/configuration.md has no table below a heading \`[${name}]\``);
    }
    const at = heading + table.index;
    made = made.slice(0, at) + tableOf(section, table[0]) + made.slice(at + table[0].length);
  }
  return await formatted(made, "md");
}

/** The manifest with the permission for every variable, and no other of that prefix. */
export function permitted(text: string): string {
  return text.replace(/--allow-env=(XDG_RUNTIME_DIR[^ "]*)/g, (_, names: string) => {
    const others = names.split(",").filter((name) => !name.startsWith("WIRESTACK_"));
    const all = new Set([...others, ...OTHER_VARIABLES, ...VARIABLE_NAMES]);
    return `--allow-env=${[...all].join(",")}`;
  });
}

/** What is written by hand of a key. */
interface Prose {
  readonly meaning: string;
  readonly otherwise: string;
}

function tableOf(section: Section, old: string): string {
  const prose = proseOf(old);
  const rows = KEYS.filter((key) => key.section === section).map((key) =>
    row(key, prose.get(key.name))
  );
  return [HEADER, HEADER.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |\n`)
    .join("");
}

/** Of a table of ours; or with a column for each of key, flag, meaning and default. */
function proseOf(table: string): Map<string, Prose> {
  const prose = new Map<string, Prose>();
  for (const line of table.trimEnd().split("\n")) {
    const cells = line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim());
    const otherwise = cells.at(-1)!;
    for (const [, name] of cells[0]!.matchAll(/`([A-Z]\w*)`/g)) {
      prose.set(name!, { meaning: cells[2] ?? "", otherwise });
    }
  }
  return prose;
}

function row(key: Key, prose: Prose | undefined): string[] {
  const names = [key.name, key.field];
  if (key.secret) names.push(`${key.name}File`, fileFieldOf(key));
  const flags = [key.flag && `--${key.flag}`, variableOf(key), secretVariableOf(key)];
  return [
    names.map(code).join(", "),
    flags.filter((name) => name !== undefined).map((name) => code(name as string)).join(", "),
    prose?.meaning ?? key.help?.replace(/ \(default.*\)$/, "").replaceAll("|", "\\|") ?? "",
    expected(key),
    isRequired(key) ? "required" : code(defaultOf(key)) || (prose?.otherwise ?? "none"),
  ];
}

function expected(key: Key): string {
  if (key.inert === "app") return "";
  const each = (expectedOf(key) ?? "text").replaceAll("|", "\\|");
  return key.list === undefined ? each : `list: ${each}`;
}

function code(text: string | undefined): string {
  return text === undefined ? "" : `\`${text}\``;
}
