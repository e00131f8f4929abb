/**
 * Paths that a configuration's files name, as seen from where the program runs.
 *
 * @module
 */

import { pathBeside } from "./beside.ts";
import { isStandardInput } from "./descriptor.ts";
import { isRepeated, KEYS } from "./keys.ts";
import type { ConfigSource, RawSection } from "./source.ts";
import { quote } from "./values.ts";

/**
 * Makes paths relative to the working directory that stand relative to their file's folder. To be
 * called when the source has its files' values alone: what flags and variables name stays as it is.
 */
export function resolvePaths(source: ConfigSource): void {
  for (const key of KEYS) {
    if (key.path === undefined || isRepeated(key.section)) continue;
    const value = (source[key.section] as RawSection | undefined)?.[key.field];
    const origin = source.origin([key.section, key.field]);
    if (typeof value !== "string" || origin === undefined || !("file" in origin)) continue;
    if (isStandardInput(origin.file)) continue;
    const written = value.trim();
    const path = key.path === "socket" && !written.startsWith("unix:")
      ? written
      : pathBeside(origin.file, written);
    if (path === written) continue;
    source.set([key.section], key, path, origin);
    if (!exists(path) && exists(written)) {
      source.warnAt(
        { ...origin, name: key.name },
        `${
          quote(written)
        } is beside this file, no longer in the working directory, where there is ` +
          "one: expected its whole path, or the file moved",
      );
    }
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path.replace(/^unix:/, ""));
    return true;
  } catch {
    return false;
  }
}
