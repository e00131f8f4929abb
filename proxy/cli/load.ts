/**
 * A configuration from all the places it may be in: flags over the environment over a file, and what
 * the file names, other files and files with secrets.
 *
 * @module
 */

import { type LoadedConfig, loadSource } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import { expectedFile, type Form, formOf, parseForm, sourceFor } from "../config/form.ts";
import { ConfigSource } from "../config/source.ts";
import { applyVariables, type Variable, VARIABLE_NAMES } from "../config/variables.ts";
import { advise } from "../gateway/advice.ts";
import { applyFlags, type FlagValue } from "./flags.ts";
import { readIncludes } from "../config/include.ts";
import { isDescriptor, isStandardInput, isWorldAccessible, readText } from "./read.ts";
import { readSecrets } from "../config/secret_files.ts";
import type { Terminal } from "./terminal.ts";

/** What a command line says about the configuration. */
export interface ConfigRequest {
  /** Missing: flags and variables alone. */
  readonly file?: string | undefined;
  /** Missing: by the file's suffix. */
  readonly form?: Form | undefined;
  readonly flags?: readonly FlagValue[];
  /** Missing: none. */
  readonly variables?: readonly Variable[];
}

/** Those of the environment that the program may read. */
export function environmentVariables(): Variable[] {
  return VARIABLE_NAMES.flatMap((name): Variable[] => {
    const { state } = Deno.permissions.querySync({ name: "env", variable: name });
    const value = state === "granted" ? Deno.env.get(name) : undefined;
    return value ? [{ name, value, origin: { variable: name } }] : [];
  });
}

/**
 * A file's configuration, as `up` would have it without flags and variables.
 *
 * @throws {ConfigError} naming every problem.
 */
export async function loadText(
  text: string,
  file: string,
  terminal: Terminal,
  form?: Form,
): Promise<LoadedConfig> {
  return loadSource(await new ConfigReader({ file, form }, terminal).source(text));
}

/** Reads one configuration, again if need be. */
export class ConfigReader {
  readonly #request: ConfigRequest;
  readonly #terminal: Terminal;
  /** What a key was read from, which is there once. */
  #standardInput: string | undefined;
  #isRead = false;

  constructor(request: ConfigRequest, terminal: Terminal) {
    this.#request = request;
    this.#terminal = terminal;
  }

  /** @throws {ConfigError} naming every problem. */
  async load(): Promise<LoadedConfig> {
    const { file, form, flags = [], variables = [] } = this.#request;
    if (file === undefined && flags.length === 0 && variables.length === 0) {
      throw new ConfigError([
        "CONFIG: missing, expected a file, -, flags or variables (see --help)",
      ]);
    }
    if (this.#isRead && file !== undefined && isDescriptor(file)) {
      const what = isStandardInput(file) ? "standard input" : "a descriptor";
      throw new ConfigError([`${file}: ${what} cannot be read again, expected a file`]);
    }
    const text = file === undefined
      ? undefined
      : await readText(file, expectedFile(form ?? formOf(file)), this.#terminal);
    this.#isRead = true;
    const { source, files } = await this.#source(text);
    const loaded = loadSource(source);
    const open = await Promise.all(files.map(isWorldAccessible));
    const readable = files.filter((_, i) => open[i])
      .map((name) => `${name}: is world accessible, expected mode 600`);
    return { ...loaded, warnings: [...readable, ...advise(loaded)] };
  }

  /** The values of a text that stands for the file's own, with what it names. */
  async source(text: string): Promise<ConfigSource> {
    return (await this.#source(text)).source;
  }

  async #source(text: string | undefined) {
    const { file, form, flags = [], variables = [] } = this.#request;
    const source = emptySource(this.#request);
    const files: string[] = [];
    if (file !== undefined && text !== undefined) {
      await parseForm(source, text, file, form ?? formOf(file));
      files.push(file, ...(await readIncludes(source, file, readText)).files);
    }
    applyVariables(source, variables);
    applyFlags(source, flags);
    files.push(...await readSecrets(source, (name, expected) => this.#readSecret(name, expected)));
    return { source, files };
  }

  async #readSecret(name: string, expected: string): Promise<string> {
    if (!isStandardInput(name)) return await readText(name, expected);
    if (this.#request.file !== undefined && isStandardInput(this.#request.file)) {
      throw new ConfigError([`${name}: is the configuration already, expected a file with a key`]);
    }
    return this.#standardInput ??= await readText(name, "a key", this.#terminal);
  }
}

/** Where missing values are reported. */
function emptySource({ file, form, flags = [] }: ConfigRequest): ConfigSource {
  if (file === undefined) {
    return new ConfigSource(flags.length > 0 ? { flag: "flags" } : { variable: "environment" });
  }
  return sourceFor(file, form);
}
