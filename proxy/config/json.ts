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
    throw new TreeError(lineOfError(json, error), "is not JSON here, expected JSON");
  }
  const walk = new Walk(json);
  return walk.value(0);
}

/** V8 tells the place in its message, or that the text has ended. */
function lineOfError(text: string, error: unknown): number {
  const message = error instanceof Error ? error.message : "";
  const position = /at position (\d+)/.exec(message)?.[1];
  const end = text.trimEnd().length;
  return lineAt(text, position === undefined ? end : Math.min(end, Number(position)));
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
