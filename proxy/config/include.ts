/**
 * `Include`: other files of a configuration, as if they stood at its end.
 *
 * @module
 */

import { beside } from "./beside.ts";
import { ConfigError } from "./error.ts";
import { formOf, parseForm } from "./form.ts";
import { quote, shownPath } from "./values.ts";
import type { ConfigSource, Origin } from "./source.ts";
import { isDescriptor } from "./descriptor.ts";

/** @param expected What the file should be, for the message. */
export type Read = (file: string, expected: string) => Promise<string>;

/** Of all patterns together. */
const MAX_FILES = 10_000;

/**
 * Adds the included files to a source. What is wrong is kept in it.
 *
 * @param file The one that includes them: patterns are relative to its folder.
 * @param read Reads a file. Throws a ConfigError with the file's name in front.
 * @returns the names of the files that were read, and of the folders that patterns are for.
 */
export async function readIncludes(
  source: ConfigSource,
  file: string,
  read: Read,
): Promise<{ readonly files: readonly string[]; readonly folders: readonly string[] }> {
  const files: string[] = [];
  const folders: string[] = [];
  const patterns = [...source.includes];
  for (const { pattern, origin } of patterns) {
    const expanded = expand(pattern, file);
    if ("wrong" in expanded) {
      source.problemAt(origin, expanded.wrong);
      continue;
    }
    if (isPattern(pattern)) folders.push(expanded.folder);
    if (expanded.files.length === 0) source.warnAt(origin, `${quote(pattern)} matches no file`);
    for (const name of expanded.files) {
      if (files.includes(name) || name === file) {
        if (!isPattern(pattern)) {
          source.problemAt(origin, `${shownPath(name)} is read already, expected once`);
        }
        continue;
      }
      if (files.length === MAX_FILES) {
        source.problemAt(origin, `more than ${MAX_FILES} files, expected fewer`);
        return { files, folders };
      }
      files.push(name);
      await add(source, name, origin, read);
    }
  }
  for (const { origin } of source.includes.slice(patterns.length)) {
    source.problemAt(origin, "stands in an included file, expected it in the first one alone");
  }
  return { files, folders };
}

async function add(
  source: ConfigSource,
  file: string,
  origin: Origin,
  read: Read,
): Promise<void> {
  if (isDescriptor(file)) {
    source.problemAt(origin, `${shownPath(file)} is no file of its own, expected one`);
    return;
  }
  const form = formOf(file);
  if (form === "env") {
    source.problemAt(
      origin,
      `${shownPath(file)} holds variables, expected a .conf, .yaml or .json file`,
    );
    return;
  }
  try {
    await parseForm(source, await read(file, "a file to include"), file, form);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    source.problemAt(origin, error.message);
  }
}

function isPattern(text: string): boolean {
  return /[*?]/.test(text);
}

/** In the order of their names. Hidden files only if the pattern begins with a dot. */
function expand(
  pattern: string,
  file: string,
): { readonly files: string[]; readonly folder: string } | { readonly wrong: string } {
  const folder = beside(file, pattern).replace(/[^/]*$/, "");
  const last = pattern.replace(/^.*\//, "");
  if (last === "" || pattern.includes("\0")) {
    return { wrong: `${quote(pattern)} names no file, expected one such as peers/*.conf` };
  }
  if (isPattern(folder.slice(folder.length - (pattern.length - last.length)))) {
    // A file's name may have a comma in it, so that a list is noticed only here.
    const expected = pattern.includes(",") ? "one pattern for each Include" : "it in the file's";
    return { wrong: `${quote(pattern)} has a * in a folder's name, expected ${expected}` };
  }
  if (!isPattern(last)) return { files: [folder + last], folder };
  const expression = last.replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*+/g, "*").replace(/[*?]/g, (c) => c === "*" ? "[^]*" : "[^]");
  const matches = new RegExp(`^${expression}$`);
  try {
    const names = Array.from(Deno.readDirSync(folder || "."))
      .filter(({ name, isDirectory }) =>
        !isDirectory && matches.test(name) && name.startsWith(".") === last.startsWith(".")
      )
      .map(({ name }) => name);
    return { files: names.sort().map((name) => folder + name), folder: folder || "." };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { files: [], folder: folder || "." };
    const why = error instanceof Deno.errors.NotCapable
      ? "is not covered by --allow-read"
      : error instanceof Deno.errors.PermissionDenied
      ? "may not be read"
      : "is no folder";
    return { wrong: `${quote(folder)} ${why}, expected a folder that may be read` };
  }
}
