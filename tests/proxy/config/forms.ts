/**
 * One configuration written in each form.
 *
 * @module
 */

import { type ConfigInput, loadSource } from "../../../proxy/config/config.ts";
import { type Form, formOf, parseForm, sourceFor } from "../../../proxy/config/form.ts";
import { formatConfigFile } from "../../../proxy/config/format.ts";
import { findField, isRepeated, type Section, variableOf } from "../../../proxy/config/keys.ts";
import { secretVariableOf, variableOfList } from "../../../proxy/config/keys.ts";

export async function sourceOf(text: string, file: string, form: Form = formOf(file)) {
  const source = sourceFor(file, form);
  await parseForm(source, text, file, form);
  return source;
}

export async function load(text: string, file: string) {
  return loadSource(await sourceOf(text, file));
}

/** The input in every form that is a text, by the name of a file. */
export function written(input: ConfigInput): Record<string, string> {
  return {
    "wg0.conf": formatConfigFile(input),
    "wg0.yaml": yaml(input),
    "wg0.json": JSON.stringify(input, null, 2),
    "wg0.env": variables(input).map(([name, value]) => `${name}=${quoted(value)}\n`).join(""),
  };
}

export function variables(input: ConfigInput): [name: string, value: string][] {
  return (Object.entries(input) as [Section, object][]).flatMap(
    ([section, values]): [string, string][] => {
      if (isRepeated(section)) return [[variableOfList(section), JSON.stringify(values)]];
      return Object.entries(values).filter(([, value]) => value !== undefined)
        .map(([field, value]): [string, string] => {
          const key = findField(section, field)!;
          const name = key.secret ? secretVariableOf(key) : variableOf(key);
          return [name ?? `no variable for ${field}`, String(value)];
        });
    },
  );
}

/** In double quotes, so that any text may be in it. */
function quoted(text: string): string {
  return `"${text.replace(/[\\"$]/g, "\\$&").replace(/\n/g, "\\n")}"`;
}

/** As people write it: plain where it may be plain. */
function yaml(input: ConfigInput): string {
  const scalar = (value: unknown) => {
    const text = String(value);
    const isPlain = /^[A-Za-z0-9][A-Za-z0-9+/=.:_-]*$/.test(text) && !/:$/.test(text);
    return isPlain ? text : JSON.stringify(text);
  };
  const pairs = (values: object, indentation: string): string =>
    Object.entries(values).filter(([, value]) => value !== undefined).map(([name, value]) =>
      Array.isArray(value)
        ? `${indentation}${name}:${value.length === 0 ? " []" : ""}\n` +
          value.map((item) => `${indentation}  - ${scalar(item)}\n`).join("")
        : `${indentation}${name}: ${scalar(value)}\n`
    ).join("");
  return (Object.entries(input) as [Section, object][]).map(([section, values]) =>
    Array.isArray(values)
      ? `${section}: # several\n` +
        values.map((item) => pairs(item, "    ").replace(/^ {4}/, "  - ") || "  - {}\n").join("")
      : `${section}:\n${pairs(values, "  ")}`
  ).join("\n");
}
