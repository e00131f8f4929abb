/**
 * Times as people say them.
 *
 * @module
 */

import { ParseFailure, quote } from "../config/values.ts";

const UNITS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const MIN_MS = 1_000;
const MAX_MS = 30 * 86_400_000;

/** `90s`, `30m`, `1h`, `7d`. @returns ms. */
export function parseDuration(text: string): number | ParseFailure {
  const [, number, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const ms = number === undefined ? NaN : Number(number) * UNITS[unit!]!;
  if (ms >= MIN_MS && ms <= MAX_MS) return ms;
  return new ParseFailure(
    `${quote(text)} is wrong, expected 1s to 30d, such as 90s, 30m, 1h or 7d`,
  );
}
