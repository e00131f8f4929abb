/**
 * The files that a configuration names, for the rules of a confined process: they are read again by a
 * reload. Loaded only if there seem to be such files.
 *
 * @module
 */

import { type Form, formOf, parseForm } from "../config/form.ts";
import { isRepeated, type Section, SECTION_NAMES } from "../config/keys.ts";
import { ConfigSource, type RawSection } from "../config/source.ts";
import { applyVariables, VARIABLE_NAMES } from "../config/variables.ts";
import { readIncludes } from "../config/include.ts";
import { resolvePaths } from "../config/paths.ts";
import { readFileText } from "../config/read_file.ts";
import { secretPath } from "../config/secret_files.ts";

export interface NamedFiles {
  /** Files, and folders that patterns are for. */
  readonly paths: readonly string[];
  /** Single values as they are written, by `section.field`. */
  readonly values: Readonly<Record<string, string>>;
}

/**
 * @param file Of the configuration; undefined for variables alone.
 * @param text The file's.
 * @param environment What the program may not read by permission of Deno's, too.
 */
export async function namedFiles(
  file: string | undefined,
  text: string,
  form: Form | undefined,
  environment: (name: string) => string | undefined,
): Promise<NamedFiles> {
  const source = new ConfigSource();
  const paths: string[] = [];
  if (file !== undefined) {
    await parseForm(source, text, file, form ?? formOf(file));
    const { files, folders } = await readIncludes(source, file, readFileText);
    paths.push(...files, ...folders);
    resolvePaths(source);
  }
  applyVariables(
    source,
    VARIABLE_NAMES.flatMap((name) => {
      const value = environment(name);
      return value === undefined ? [] : [{ name, value, origin: { variable: name } }];
    }),
  );
  paths.push(...source.secretFiles.map(secretPath));
  const values: Record<string, string> = {};
  for (const section of (Object.keys(SECTION_NAMES) as Section[])) {
    if (isRepeated(section)) continue;
    for (const [field, value] of Object.entries(source[section] as RawSection ?? {})) {
      if (typeof value === "string") values[`${section}.${field}`] = value;
    }
  }
  return { paths, values };
}
