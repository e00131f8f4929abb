/**
 * What is wrong with a filter, and where.
 *
 * @module
 */

export class FilterError extends Error {
  override readonly name = "FilterError";
  /** Of the place in the filter, characters. */
  readonly at: number;

  /** @param problem `what is wrong, what was expected`. */
  constructor(problem: string, text: string, at: number) {
    super(`${problem}\n${pointTo(text, at)}`);
    this.at = at;
  }
}

/** Characters of a long filter that are shown on either side of the place. */
const SHOWN = 60;

/** The filter, and a caret under the place. */
function pointTo(text: string, at: number): string {
  const from = Math.max(0, at - SHOWN);
  const shown = text.slice(from, at + SHOWN).replace(/[^\x20-\x7e]/g, "?");
  return `  ${shown}\n  ${" ".repeat(at - from)}^`;
}
