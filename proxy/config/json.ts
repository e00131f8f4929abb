/**
 * JSON with the line of every value. `JSON.parse` says whether a text is JSON, and what its values
 * are; a walk over the text, which is known to be well-formed then, says where they are.
 *
 * @module
 */

import { MAX_DEPTH, type Tree, TreeError } from "./tree.ts";

/** @throws {TreeError} */
export function parseJson(text: string): Tree {
  const json = text.replace(/^\uFEFF/, "");
  try {
    JSON.parse(json);
  } catch (error) {
    throw whereItFails(json, error);
  }
  const walk = new Walk(json);
  return walk.value(0);
}

/** V8 tells the place in its message, mostly, or that the text has ended. */
function whereItFails(text: string, error: unknown): TreeError {
  const message = error instanceof Error ? error.message : "";
  const position = /at position (\d+)/.exec(message)?.[1];
  const end = text.trimEnd().length;
  const at = Math.min(end, position === undefined ? end : Number(position));
  const line = lineAt(text, at);
  if (position === undefined && !message.includes("end of JSON")) {
    return new TreeError(line, "is not JSON here, expected JSON");
  }
  if (at === end) return new TreeError(line, "ends before its JSON does, expected the rest of it");
  // The character itself is not told: it may be one of a key.
  const column = at - (at === 0 ? -1 : text.lastIndexOf("\n", at - 1));
  return new TreeError(line, `is not JSON from column ${column} on, expected JSON`);
}

function lineAt(text: string, position: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < position; at = text.indexOf("\n", at + 1)) {
    line++;
  }
  return line;
}

class Walk {
  readonly #text: string;
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Tree {
    this.#space();
    const line = this.#line;
    const first = this.#text[this.#at]!;
    if (first !== "{" && first !== "[") {
      return { kind: "plain", line, value: JSON.parse(this.#token()) };
    }
    if (depth === MAX_DEPTH) {
      throw new TreeError(line, `is nested too deep, expected at most ${MAX_DEPTH} levels`);
    }
    this.#at++;
    if (first === "[") {
      const items: Tree[] = [];
      while (this.#next("]")) items.push(this.value(depth + 1));
      return { kind: "list", line, items };
    }
    const entries = [];
    while (this.#next("}")) {
      const nameLine = this.#line;
      const name: string = JSON.parse(this.#token());
      this.#space();
      this.#at++; // the colon
      entries.push({ name, line: nameLine, value: this.value(depth + 1) });
    }
    return { kind: "map", line, entries };
  }

  /** Goes to the next member. @returns false behind the end. */
  #next(end: string): boolean {
    this.#space();
    if (this.#text[this.#at] === ",") {
      this.#at++;
      this.#space();
    }
    if (this.#text[this.#at] !== end) return true;
    this.#at++;
    return false;
  }

  #space(): void {
    for (;; this.#at++) {
      const character = this.#text.charCodeAt(this.#at);
      if (character === 10) this.#line++;
      else if (character !== 32 && character !== 9 && character !== 13) return;
    }
  }

  /** A string, a number or a word. */
  #token(): string {
    TOKEN.lastIndex = this.#at;
    const [token] = TOKEN.exec(this.#text)!;
    this.#at += token.length;
    return token;
  }
}

const TOKEN = /"(?:[^"\\]+|\\.)*"|[^\s,\]}]+/y;
