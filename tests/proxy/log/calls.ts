/**
 * The calls of the log in the sources of `proxy/`, read from their text.
 *
 * @module
 */

import { readdirSync } from "node:fs";

export interface LogCall {
  /** `FILE:LINE`. */
  readonly place: string;
  /** Behind `wirestack.`; `wirestack` for that itself. */
  readonly logger: string;
  readonly level: string;
  /** Up to the first part that is not written down there. */
  readonly message: string;
  /** Whether there is such a part. */
  readonly isOpen: boolean;
  /** Properties that are written down there. */
  readonly fields: readonly string[];
}

const PROXY = new URL("../../../proxy/", import.meta.url);

export function logCalls(): LogCall[] {
  return readdirSync(PROXY, { recursive: true, encoding: "utf8" }).filter((path) =>
    path.endsWith(".ts")
  ).sort().flatMap((path) => callsOf(Deno.readTextFileSync(new URL(path, PROXY)), `proxy/${path}`));
}

/** Exported for a test of its own. */
export function callsOf(text: string, file: string): LogCall[] {
  const names = new Map<string, string>();
  for (const [, name, list] of text.matchAll(/const (\w+) = getLogger\(\[([^\]]*)\]\)/g)) {
    names.set(name!, loggerOf(list!));
  }
  const call =
    /\b(?:(\w+)|getLogger\(\[([^\]]*)\]\))\s*\.(trace|debug|info|warn|error)\(\s*(?=[`"'\w])/g;
  return Array.from(text.matchAll(call)).flatMap((match) => {
    const [whole, name, list, level] = match;
    const logger = list === undefined ? names.get(name!) : loggerOf(list);
    if (logger === undefined) return [];
    const [first = "", second = ""] = argumentsAt(text, match.index + whole.length);
    const line = text.slice(0, match.index).split("\n").length;
    return [{
      place: `${file}:${line}`,
      logger,
      level: level!,
      ...messageOf(first),
      fields: fieldsOf(second),
    }];
  });
}

function loggerOf(list: string): string {
  const parts = Array.from(list.matchAll(/"([^"]*)"/g), ([, part]) => part!);
  return parts.slice(1).join(".") || parts.join(".");
}

/** The texts of a call's arguments. */
function argumentsAt(text: string, start: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let from = start;
  for (let i = start; i < text.length; i++) {
    const character = text[i]!;
    if ("\"'`".includes(character)) {
      i = endOfString(text, i);
    } else if ("([{".includes(character)) depth++;
    else if (depth > 0 && ")]}".includes(character)) depth--;
    else if (depth === 0 && ",)".includes(character)) {
      found.push(text.slice(from, i).trim());
      from = i + 1;
      if (character === ")") return found;
    }
  }
  return found;
}

function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === text[start]) return i;
  }
  return text.length;
}

function messageOf(argument: string): { message: string; isOpen: boolean } {
  let message = "";
  let rest = argument;
  for (;;) {
    const quoted = /^(["'])((?:\\.|(?!\1)[^\\])*)\1\s*(\+?)\s*/s.exec(rest);
    const template = /^`((?:\\.|[^\\`])*)`\s*(\+?)\s*/s.exec(rest);
    if (template !== null) {
      const [literal, ...more] = template[1]!.split("${");
      return { message: message + literal, isOpen: more.length > 0 || template[2] === "+" };
    }
    if (quoted === null) return { message, isOpen: rest !== "" };
    message += JSON.parse(
      `"${quoted[2]!.replaceAll("\\'", "'").replaceAll('"', '\\"').replaceAll('\\\\"', '\\"')}"`,
    );
    rest = rest.slice(quoted[0].length);
    if (quoted[3] === "") return { message, isOpen: rest !== "" };
  }
}

function fieldsOf(argument: string): string[] {
  if (!argument.startsWith("{")) return [];
  return argumentsAt(`${argument.slice(1, -1)})`, 0)
    .map((property) => /^(\w+)\s*(?::|$)/.exec(property)?.[1]).filter((name) => name !== undefined);
}
