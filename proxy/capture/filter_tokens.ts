/**
 * A filter's words.
 *
 * @module
 */

import { quote } from "../config/values.ts";
import { FilterError } from "./filter_error.ts";

export interface Token {
  /** A word as it is written, a text without its quotes; `(`, `)` or `end` of the filter. */
  readonly kind: "word" | "text" | "(" | ")" | "end";
  readonly text: string;
  /** Where it begins, characters. */
  readonly at: number;
}

/** Beyond it a filter would not go through the control socket. */
export const MAX_LENGTH = 1_000;

/** What other languages have for the words of this one. */
const SIGNS: Readonly<Record<string, string>> = { "&&": "and", "||": "or", "!": "not" };

/** @throws {FilterError} */
export function tokensOf(text: string): Token[] {
  if (text.length > MAX_LENGTH) {
    const problem = `is ${text.length} characters long, expected at most ${MAX_LENGTH}`;
    throw new FilterError(problem, text, MAX_LENGTH);
  }
  const tokens: Token[] = [];
  const pattern = /\s*(?:([()])|"([^"]*)"|(&&|\|\||!)|([^\s()"!&|]+)|(\S))/gy;
  for (let match; (match = pattern.exec(text)) !== null;) {
    const [whole, parenthesis, quoted, sign, word, other] = match;
    const at = match.index + whole.length - whole.trimStart().length;
    if (other !== undefined) {
      const problem = other === '"'
        ? 'a text without an end, expected "'
        : `${quote(other)} is unknown, expected a word`;
      throw new FilterError(problem, text, at);
    }
    if (parenthesis !== undefined) {
      tokens.push({ kind: parenthesis as "(" | ")", text: parenthesis, at });
    } else if (quoted !== undefined) tokens.push({ kind: "text", text: quoted, at });
    else tokens.push({ kind: "word", text: sign === undefined ? word! : SIGNS[sign]!, at });
  }
  return [...tokens, { kind: "end", text: "", at: text.trimEnd().length }];
}
