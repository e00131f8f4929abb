/**
 * Times as lines of the log and errors have them.
 *
 * @module
 */

/** To the second, in UTC (RFC 3339). @param time A date, or ms since the Unix epoch. */
export function timeText(time: Date | number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
}
