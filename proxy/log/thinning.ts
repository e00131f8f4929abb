/**
 * What happens again and again is logged ever more rarely.
 *
 * @module
 */

/** Whether the `count`th time is logged: the 1st, 2nd, 4th, 8th and so on. */
export function isWorthALine(count: number): boolean {
  return (count & count - 1) === 0;
}
