/**
 * Writes the file that {@link parseConfigFile} reads.
 *
 * @module
 */

import { encodeKey } from "../base64.ts";
import type { ConfigInput } from "./input.ts";
import { type Key, KEYS, type Section, SECTION_NAMES } from "./keys.ts";
import type { RawSection } from "./source.ts";

/**
 * A wg-quick file with the values of `input`, unchecked, in the order of the documentation.
 *
 * @throws {RangeError} if a value holds a line break or a `#`, which a file cannot hold.
 */
export function formatConfigFile(input: ConfigInput): string {
  const sections = input.interface === undefined
    ? []
    : [formatSection("interface", input.interface)];
  for (const peer of input.peers ?? []) sections.push(formatSection("peers", peer));
  for (const rule of input.rules ?? []) sections.push(formatSection("rules", rule));
  for (const link of input.links ?? []) sections.push(formatSection("links", link));
  for (const section of ["proxy", "relay", "status", "capture", "log"] as const) {
    const values = input[section];
    if (values !== undefined) sections.push(formatSection(section, values));
  }
  return sections.join("\n");
}

function formatSection(section: Section, values: object): string {
  let text = `[${SECTION_NAMES[section]}]\n`;
  for (const key of KEYS) {
    const value = key.section === section ? (values as RawSection)[key.field] : undefined;
    for (const line of linesOf(key, value)) text += `${key.name} = ${line}\n`;
  }
  return text;
}

function linesOf(key: Key, value: unknown): string[] {
  if (value === undefined) return [];
  const text = value instanceof Uint8Array ? encodeKey(value) : String(value);
  const values = Array.isArray(value) ? value.map(String) : [text];
  if (values.some((text) => /[\r\n#]/.test(text))) {
    throw new RangeError(`the value of ${key.name} has a line break or a #`);
  }
  return (key.list === "comma" || key.list === "names") && values.length > 0
    ? [values.join(", ")]
    : values;
}
