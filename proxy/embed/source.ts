/**
 * Where an embedder's configuration comes from.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type ConfigInput, loadConfig, type LoadedConfig, loadSource } from "../config/config.ts";
import { expectedFile, formOf, parseForm, sourceFor } from "../config/form.ts";
import { readIncludes } from "../config/include.ts";
import { resolvePaths } from "../config/paths.ts";
import { readFileText } from "../config/read_file.ts";
import { readSecrets } from "../config/secret_files.ts";
import { getLogger } from "../log/logger.ts";

/**
 * Where a configuration comes from: the path of a file (text, or a `file:` URL) in any form that the
 * command line takes, a wg-quick file's text
 * as `{ text }`, or an object. `{ file }` is the path once more, `{ config }` text or an object.
 */
export type ConfigSourceInput =
  | string
  | URL
  | ConfigInput
  | { text: string }
  | { file: string | URL }
  | { config: string | ConfigInput };

/**
 * Reads and checks it; warnings go to the log.
 *
 * @throws {ConfigError} naming everything that is wrong with it.
 * @throws {TypeError} if it is none of the forms.
 */
export async function loadSourceInput(source: ConfigSourceInput): Promise<LoadedConfig> {
  const loaded = await load(source);
  const log = getLogger(["wirestack", "config"]);
  for (const warning of loaded.warnings) log.warn("{warning}", { warning });
  return loaded;
}

async function load(source: ConfigSourceInput): Promise<LoadedConfig> {
  if (typeof source === "string" || source instanceof URL) return await loadFile(source);
  if (typeof source !== "object" || source === null) {
    throw new TypeError(`expected the path of a file, or an object, got ${describe(source)}`);
  }
  if ("file" in source) return await loadFile(source.file);
  if ("text" in source) return loadConfig(source.text);
  return loadConfig("config" in source ? source.config : source);
}

async function loadFile(file: string | URL): Promise<LoadedConfig> {
  // Text of a file was taken here once. It may hold a key: nothing of it is shown.
  if (typeof file === "string" && /[\r\n]/.test(file)) {
    throw new TypeError("a string is the path of a file; text of one is given as { text }");
  }
  const name = file instanceof URL && file.protocol === "file:" ? fileURLToPath(file) : `${file}`;
  const form = formOf(name);
  const source = sourceFor(name, form);
  await parseForm(source, await readFileText(name, expectedFile(form)), name, form);
  await readIncludes(source, name, readFileText);
  resolvePaths(source);
  await readSecrets(source, readFileText);
  return loadSource(source);
}

function describe(value: unknown): string {
  return value === null ? "null" : typeof value;
}
