/**
 * What the schema says of a key, in words: what is expected, and the default. For documentation, and
 * for who wants to see where a value comes from.
 *
 * @module
 */

import { encodeKey } from "../base64.ts";
import { DEFAULT_STATUS } from "./defaults.ts";
import type { Key } from "./keys.ts";
import { type Field, WRONG } from "./fields.ts";
import { SECTION_FIELDS } from "./schema.ts";

/** No key of ours takes it but those that take any text. */
const ABSURD = "\0";

/** What a message about a wrong value would expect. Undefined: any text. */
export function expectedOf(key: Key): string | undefined {
  let first: string | undefined;
  fieldOf(key)(key.secret ? "" : ABSURD, (message) => first ??= message);
  return first === undefined ? undefined : /expected ([^]*)$/.exec(first)?.[1];
}

/** Whether a section must have the key. */
export function isRequired(key: Key): boolean {
  return madeOf(key, undefined) === WRONG;
}

/** The default as one would write it; undefined if there is none. */
export function defaultOf(key: Key): string | undefined {
  const made = madeOf(key, undefined);
  if (made === WRONG || made === undefined || Array.isArray(made)) return undefined;
  if (key.section === "status" && key.field === "listen") return DEFAULT_STATUS.listen;
  // What was parsed may be in another unit: milliseconds, bits.
  const spellings = typeof made === "number" ? [String(made), String(made / 1000)] : [String(made)];
  return spellings.find((text) => madeOf(key, text) === made) ?? String(made);
}

/** A value as it was written, in one line; a key as text. */
export function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return encodeKey(value);
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  return String(value);
}

function madeOf(key: Key, input: unknown): unknown {
  return fieldOf(key)(input, () => {});
}

function fieldOf(key: Key): Field<unknown> {
  return SECTION_FIELDS[key.section][key.field]!;
}
