/**
 * The files that a configuration names, for the rules of a confined process: they are read again by a
 * reload. Loaded only if there seem to be such files.
 *
 * @module
 */

import { type Form, formOf, parseForm } from "../config/form.ts";
import { ConfigSource, type RawSection } from "../config/source.ts";
import { applyVariables, VARIABLE_NAMES } from "../config/variables.ts";
import { readIncludes } from "./include.ts";
import { secretPath } from "./secret_files.ts";

export interface NamedFiles {
  /** Files, and folders that patterns are for. */
  readonly paths: readonly string[];
  /** What the configuration says, if it does. */
  readonly controlDir: string | undefined;
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
    const { files, folders } = await readIncludes(source, file);
    paths.push(...files, ...folders);
  }
  applyVariables(
    source,
    VARIABLE_NAMES.flatMap((name) => {
      const value = environment(name);
      return value === undefined ? [] : [{ name, value, origin: { variable: name } }];
    }),
  );
  paths.push(...source.secretFiles.map(secretPath));
  const { controlDir } = source.interface as RawSection;
  return { paths, controlDir: typeof controlDir === "string" ? controlDir : undefined };
}
