/**
 * `[Peer]` sections put into a file's text and taken out of it. Everything else stays as it is.
 *
 * @module
 */

import { formatConfigFile } from "../config/format.ts";
import type { PeerInput } from "../config/config.ts";

/** The text with a section more, at its end. */
export function withPeerSection(text: string, peer: PeerInput): string {
  const section = formatConfigFile({ interface: { privateKey: "" }, peers: [peer] })
    .replace(/^[^]*?\n(?=\[Peer\])/, "")
    .replace(/^(\[Peer\]\n)(PublicKey.*\n)(Name.*\n)/, "$1$3$2"); // people look for the name
  const end = text === "" || /\n$/.test(text) ? "" : "\n";
  const added = `${end}\n${section}`;
  return text + (text.includes("\r\n") ? added.replace(/\n/g, "\r\n") : added);
}

/**
 * The text without the section whose header is on line `header`, counted from 1. A comment right
 * above the next header is that one's; one right above this header goes along if it has the name.
 */
export function withoutPeerSection(text: string, header: number, name: string | undefined): string {
  // Every second part is a line's end.
  const parts = text.split(/(\r?\n|\r)/);
  const lines = parts.filter((_, i) => i % 2 === 0).map((line, i) =>
    line + (parts[2 * i + 1] ?? "")
  );
  const isComment = (index: number) => /^\s*#/.test(lines[index] ?? "");
  const isBlank = (index: number) => /^\s*$/.test(lines[index] ?? "x");
  let first = header - 1;
  let end = first + 1;
  while (end < lines.length && !/^\s*\[/.test(lines[end]!)) end++;
  if (end < lines.length) {
    while (end - 1 > first && isComment(end - 1)) end--;
    // A comment that no blank line separates still belongs to this section.
    if (end - 1 > first && !isBlank(end - 1)) {
      while (end < lines.length && !/^\s*\[/.test(lines[end]!)) end++;
    }
  }
  while (first > 0 && isComment(first - 1) && name && lines[first - 1]!.includes(name)) first--;
  const left = [...lines.slice(0, first), ...lines.slice(end)];
  // The blank lines that stood before it do not stay at the file's end.
  if (end >= lines.length) {
    while (left.length > 0 && /^\s*$/.test(left.at(-1)!)) left.pop();
  }
  return left.join("");
}
