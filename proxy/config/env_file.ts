/**
 * The `.env` file: `NAME=VALUE` lines, as a shell would take them without expanding anything.
 *
 * @module
 */

import { shownVariable, VARIABLE_PREFIX } from "./keys.ts";
import type { ConfigSource } from "./source.ts";
import type { Variable } from "./variables.ts";

const NAME = /^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*/;

/**
 * Values are bare, up to a ` #`; in single quotes as they stand; or in double quotes with `\n`, `\t`,
 * `\"`, `\\` and `\$`. In quotes they may span lines. Other programs' variables are left alone, with a
 * warning; what is wrong is kept in the source.
 */
export function parseEnvFile(text: string, file: string, source: ConfigSource): Variable[] {
  const variables: Variable[] = [];
  const first = new Map<string, number>();
  const others: { name: string; line: number }[] = [];
  const rest = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  for (let at = 0, line = 1; at < rest.length;) {
    const end = lineEnd(rest, at);
    const content = rest.slice(at, end);
    const origin = { file, line };
    const match = NAME.exec(content.trimStart());
    const next = (to: number) => {
      line += rest.slice(at, to).split("\n").length;
      at = to + 1;
    };
    if (/^\s*(?:#|$)/.test(content)) {
      next(end);
      continue;
    }
    if (match === null) {
      source.problemAt(origin, "line: not a variable, expected NAME=VALUE");
      next(end);
      continue;
    }
    const name = match[1]!;
    const start = at + content.length - content.trimStart().length + match[0].length;
    const read = readValue(rest, start, end);
    const isOurs = name.startsWith(VARIABLE_PREFIX);
    if ("wrong" in read) {
      source.problemAt({ ...origin, name: shownVariable(name) }, read.wrong);
    } else if (!isOurs) {
      others.push({ name, line });
    } else if (first.has(name)) {
      source.problemAt(
        { ...origin, name: shownVariable(name) },
        `given twice, expected it once (the first is on line ${first.get(name)})`,
      );
    } else {
      first.set(name, line);
      variables.push({
        name,
        value: read.value,
        origin: { ...origin, name: shownVariable(name), isVariable: true },
      });
    }
    next(read.end);
  }
  if (others.length > 0) {
    const more = others.length > 1 ? ` (and ${others.length - 1} more)` : "";
    source.warnAt({ file, line: others[0]!.line }, `a variable of another program, ignored${more}`);
  }
  return variables;
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end < 0 ? text.length : end;
}

type Read =
  | { readonly value: string; readonly end: number }
  | { readonly wrong: string; readonly end: number };

function readValue(text: string, start: number, end: number): Read {
  const quote = text[start];
  if (quote !== "'" && quote !== '"') {
    const bare = text.slice(start, end);
    return { value: bare.replace(/(?:^|\s)#.*$/, "").trim(), end };
  }
  let close = start + 1;
  while (close < text.length && text[close] !== quote) {
    close += quote === '"' && text[close] === "\\" ? 2 : 1;
  }
  if (close >= text.length) {
    return { wrong: `has no closing ${quote}, expected one`, end };
  }
  const after = lineEnd(text, close);
  if (!/^\s*(?:#.*)?$/.test(text.slice(close + 1, after))) {
    return { wrong: `goes on behind its closing ${quote}, expected nothing there`, end: after };
  }
  const inside = text.slice(start + 1, close);
  const value = quote === "'" ? inside : inside.replace(
    /\\([nrt"\\$])/g,
    (_, character: string) =>
      ({ n: "\n", r: "\r", t: "\t" } as Record<string, string>)[character] ?? character,
  );
  return { value, end: after };
}
