/**
 * The texts of a configuration's files, for a gateway that may not read them any more.
 *
 * @module
 */

import { resolve } from "node:path";
import { ConfigError } from "../config/error.ts";
import { formOf, parseForm, sourceFor } from "../config/form.ts";
import { readIncludes } from "../config/include.ts";
import { isDescriptor } from "../config/descriptor.ts";
import { resolvePaths } from "../config/paths.ts";
import { readFileText } from "../config/read_file.ts";
import { secretPath } from "../config/secret_files.ts";

/** Of a line of the control socket, characters before they are percent-encoded. */
const PART_LENGTH = 1_000;

/**
 * Reads a configuration file, what it includes, and files with keys that it names. Those that cannot be
 * read are left out: the gateway says so. No other file is read, whatever the gateway may ask for: it has
 * given up its rights so that nobody gets at this host's files through it.
 *
 * @returns texts by whole path; undefined if the file itself cannot be read.
 */
export async function textsOf(file: string): Promise<Record<string, string> | undefined> {
  const texts: Record<string, string> = {};
  const read = async (name: string) => {
    const text = await readFileText(name, "a file");
    return texts[resolve(name)] = text;
  };
  try {
    const source = sourceFor(file);
    await parseForm(source, await read(file), file, formOf(file));
    await readIncludes(source, file, read);
    resolvePaths(source);
    for (const secret of source.secretFiles) {
      const path = secretPath(secret);
      if (!isDescriptor(path)) await read(path).catch(pass);
    }
  } catch (error) {
    pass(error);
  }
  return Object.keys(texts).length > 0 ? texts : undefined;
}

/** @returns lines of a request's arguments. */
export function textLines(texts: Record<string, string>): string[] {
  // In ASCII: a character of two units must not be cut.
  const json = JSON.stringify(texts).replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const parts = Array.from(
    { length: Math.ceil(json.length / PART_LENGTH) },
    (_, i) => json.slice(i * PART_LENGTH, (i + 1) * PART_LENGTH),
  );
  return parts.map((part) => `texts=${encodeURIComponent(part)}`);
}

function pass(error: unknown): void {
  if (!(error instanceof ConfigError)) throw error;
}
