/**
 * Paths that a configuration's files name, as seen from where the program runs.
 *
 * @module
 */

import { isSocketPath, pathBeside } from "./beside.ts";
import { isStandardInput } from "./descriptor.ts";
import type { ConfigPath } from "./error.ts";
import { isRepeated, type Key, KEYS } from "./keys.ts";
import type { ConfigSource } from "./source.ts";
import { quote } from "./values.ts";

/**
 * Makes paths relative to the working directory that stand relative to their file's folder. To be
 * called when the source has its files' values alone: what flags and variables name stays as it is.
 */
export function resolvePaths(source: ConfigSource): void {
  for (const key of KEYS) {
    if (key.path === undefined) continue;
    const { section } = key;
    const sections = source[section];
    if (!isRepeated(section)) resolvePath(source, [section], key);
    else if (Array.isArray(sections)) {
      sections.forEach((_, i) => resolvePath(source, [section, i], key));
    }
  }
}

function resolvePath(source: ConfigSource, section: ConfigPath, key: Key): void {
  const value = source[key.section] === undefined ? undefined : source.section(section)[key.field];
  const origin = source.origin([...section, key.field]);
  if (typeof value !== "string" || origin === undefined || !("file" in origin)) return;
  if (isStandardInput(origin.file)) return;
  const written = value.trim();
  if (key.path === "socket" && !isSocketPath(written)) return;
  const path = pathBeside(origin.file, written);
  if (path === written) return;
  source.set(section, key, path, origin);
  if (exists(path) || !exists(written)) return;
  source.warnAt(
    { ...origin, name: key.name },
    `${quote(written)} is beside this file, no longer in the working directory, where there is ` +
      "one: expected its whole path, or the file moved",
  );
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path.replace(/^unix(?:gram)?:/, ""));
    return true;
  } catch {
    return false;
  }
}
