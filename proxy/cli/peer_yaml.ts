/**
 * Peers put into YAML and taken out of it. The lines of the peer are all that changes, where the list
 * has lines of its own; a list in brackets is written anew, with its comments.
 *
 * @module
 */

import { isMap, isScalar, isSeq, type Pair, type ParsedNode, type YAMLSeq } from "npm:yaml@2.9.1";
import type { PeerInput } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import { parseYamlDocument } from "../config/yaml.ts";

/** @throws {ConfigError} if the file's peers are an alias. */
export function withYamlPeer(text: string, peer: PeerInput, file: string): string {
  const { document, pair, list } = peersOf(text, file);
  const end = /\r\n/.test(text) ? "\r\n" : "\n";
  const item = (indentation: string) => itemOf(peer, indentation, end);
  if (isMap(document.contents) && document.contents.flow || list?.flow && list.items.length > 0) {
    document.addIn(["peers"], document.createNode(peer));
    return document.toString({ lineWidth: 0 });
  }
  if (pair === undefined) {
    const gap = text === "" || text.endsWith("\n") ? end : `${end}${end}`;
    return `${text}${gap}peers:${end}${item("  ")}`;
  }
  if (list === undefined || list.flow) { // `peers:` or `peers: []`
    const [from, to] = list?.range ?? [0, 0];
    const line = list === undefined ? text : text.slice(0, from).trimEnd() + text.slice(to);
    const at = lineEnd(line, (pair.key as ParsedNode).range[1]);
    return insert(line, at, item("  "), end);
  }
  const last = (list.items.at(-1) as ParsedNode).range[1];
  const at = text[last - 1] === "\n" ? last : lineEnd(text, last);
  return insert(text, at, item(" ".repeat(columnOf(text, list.range![0]))), end);
}

/** @throws {ConfigError} if the file's peers are an alias. */
export function withoutYamlPeer(
  text: string,
  { index, name }: { readonly index: number; readonly name: string | undefined },
  file: string,
): string {
  const { document, list } = peersOf(text, file);
  if (list === undefined || list.flow || isMap(document.contents) && document.contents.flow) {
    document.deleteIn(["peers", index]);
    return document.toString({ lineWidth: 0 });
  }
  const starts = list.items.map((node) => lineStart(text, (node as ParsedNode).range[0]));
  const isComment = (line: string) => /^[ \t]*#/.test(line);
  const lineBefore = (at: number) => text.slice(lineStart(text, at - 1), at);
  let from = starts[index]!;
  // A comment right above goes along if it has the name.
  while (from > 0 && name && isComment(lineBefore(from)) && lineBefore(from).includes(name)) {
    from = lineStart(text, from - 1);
  }
  let to = starts[index + 1];
  if (to === undefined) {
    const last = (list.items[index] as ParsedNode).range[1];
    to = text[last - 1] === "\n" ? last : lineEnd(text, last);
  } else {
    // What stands right above the next one is that one's.
    while (to > from && isComment(lineBefore(to))) to = lineStart(text, to - 1);
  }
  return text.slice(0, from) + text.slice(to);
}

function peersOf(text: string, file: string) {
  const { document } = parseYamlDocument(text);
  const map = isMap(document.contents) ? document.contents : undefined;
  const pair = (map?.items as Pair<ParsedNode, ParsedNode | null>[] | undefined)?.find(({ key }) =>
    isScalar(key) && key.value === "peers"
  );
  const { value } = pair ?? {};
  const isEmpty = value === undefined || value === null || isScalar(value) && value.value === "";
  if (!isEmpty && !isSeq(value)) {
    throw new ConfigError([`${file}: peers are written elsewhere, expected a list of its own`]);
  }
  return { document, pair, list: isSeq(value) ? value as YAMLSeq : undefined };
}

function itemOf(peer: PeerInput, indentation: string, end: string): string {
  const lines = Object.entries(peer).filter(([, value]) => value !== undefined).flatMap(
    ([name, value]) =>
      Array.isArray(value)
        ? [`${name}:`, ...value.map((item) => `  - ${item}`)]
        : [`${name}: ${value}`],
  );
  return lines.map((line, i) => `${indentation}${i === 0 ? "- " : "  "}${line}${end}`).join("");
}

function insert(text: string, at: number, lines: string, end: string): string {
  const before = text.slice(0, at);
  return before + (before.endsWith("\n") ? "" : end) + lines + text.slice(at);
}

function columnOf(text: string, at: number): number {
  return at - lineStart(text, at);
}

function lineStart(text: string, at: number): number {
  return text.lastIndexOf("\n", at - 1) + 1;
}

/** Behind the line's end. */
function lineEnd(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end + 1;
}
