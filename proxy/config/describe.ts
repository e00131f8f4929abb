/**
 * What the schema says of a key, in words: what is expected, and the default. For documentation, and
 * for who wants to see where a value comes from.
 *
 * @module
 */

import { encodeKey } from "../base64.ts";
import { DEFAULT_STATUS } from "./defaults.ts";
import type { Key } from "./keys.ts";
import { SCHEMAS } from "./schema.ts";

/** No key of ours takes it but those that take any text. */
const ABSURD = "\0";

/** What a message about a wrong value would expect. Undefined: any text. */
export function expectedOf(key: Key): string | undefined {
  const result = typeOf(key).safeParse(key.secret ? "" : ABSURD);
  if (result.success) return undefined;
  return /expected ([^]*)$/.exec(result.error.issues[0]!.message)?.[1];
}

/** Whether a section must have the key. */
export function isRequired(key: Key): boolean {
  return !typeOf(key).safeParse(undefined).success;
}

/** The default as one would write it; undefined if there is none. */
export function defaultOf(key: Key): string | undefined {
  const type = typeOf(key);
  const { success, data } = type.safeParse(undefined);
  if (!success || data === undefined || Array.isArray(data)) return undefined;
  if (key.section === "status" && key.field === "listen") return DEFAULT_STATUS.listen;
  // What was parsed may be in another unit: milliseconds, bits.
  const spellings = typeof data === "number" ? [String(data), String(data / 1000)] : [String(data)];
  return spellings.find((text) => type.safeParse(text).data === data) ?? String(data);
}

/** A value as it was written, in one line; a key as text. */
export function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return encodeKey(value);
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  return String(value);
}

function typeOf(key: Key) {
  return SCHEMAS[key.section].shape[key.field]!;
}
