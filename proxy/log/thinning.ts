/**
 * What happens again and again is logged ever more rarely.
 *
 * @module
 */

/** Whether the `count`th time is logged: the 1st, 2nd, 4th, 8th and so on. */
export function isWorthALine(count: number): boolean {
  return (count & count - 1) === 0;
}

/** For what happens to each of many again and again: a line now and then has the number of the others. */
export class ThinnedLines<Key extends WeakKey> {
  readonly #said = new WeakMap<Key, { at: number; suppressed: number }>();
  readonly #everyMs: number;

  /** @param everyMs The least time between two lines about one of them. Default: a second. */
  constructor(everyMs = 1_000) {
    this.#everyMs = everyMs;
  }

  /**
   * @param now Milliseconds.
   * @returns how many were not logged since the last line; undefined if this is not to be logged either.
   */
  next(key: Key, now: number): number | undefined {
    const said = this.#said.get(key);
    if (said !== undefined && now < said.at + this.#everyMs) {
      said.suppressed++;
      return undefined;
    }
    this.#said.set(key, { at: now, suppressed: 0 });
    return said?.suppressed ?? 0;
  }
}
