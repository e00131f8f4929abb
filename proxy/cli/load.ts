/**
 * A configuration from all the places it may be in: flags over the environment over a file, and what
 * the file names, other files and files with secrets.
 *
 * @module
 */

import { resolve } from "node:path";
import { generatePrivateKey } from "../base64.ts";
import { type LoadedConfig, loadSource } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import { expectedFile, type Form, formOf, parseForm, sourceFor } from "../config/form.ts";
import { ConfigSource, type RawSection } from "../config/source.ts";
import { findKey, shownVariable, VARIABLE_PREFIX } from "../config/keys.ts";
import { MAX_CONFIG_BYTES } from "../config/limits.ts";
import { resolvePaths } from "../config/paths.ts";
import { readFileText, type Texts } from "../config/read_file.ts";
import { suggest } from "../config/suggest.ts";
import { applyVariables, type Variable, VARIABLE_NAMES } from "../config/variables.ts";
import { shownPath } from "../config/values.ts";
import { advise } from "../gateway/advice.ts";
import { applyFlags, type FlagValue } from "./flags.ts";
import { readIncludes } from "../config/include.ts";
import { isDescriptor, isStandardInput, isWorldAccessible, readText } from "./read.ts";
import { readSecrets } from "../config/secret_files.ts";
import type { Terminal } from "./terminal.ts";

const PRIVATE_KEY = findKey("interface", "PrivateKey")!;

/** Of a file with a key and nothing else, bytes. */
const MAX_SECRET_BYTES = 65_536;

/** What a confined process tells itself (ffi/confine/process.ts). */
const CONFINEMENT_MARK = "WIRESTACK_CONFINED";

/** What a command line says about the configuration. */
export interface ConfigRequest {
  /** Missing: flags and variables alone. */
  readonly file?: string | undefined;
  /** Missing: by the file's suffix. */
  readonly form?: Form | undefined;
  readonly flags?: readonly FlagValue[];
  /** Missing: none. */
  readonly variables?: readonly Variable[];
  /** Whether it is for a device of the operating system too, `--tun`. */
  readonly hasDevice?: boolean;
  /** Puts in, or refuses, what the command decides about, when all else is there. Default: nothing. */
  readonly complete?: (source: ConfigSource) => void;
  /** Names that begin like ours and are none, for a warning. Missing: none. */
  readonly unknown?: readonly string[];
  /** Whether to read the files that keys are in. Default true. */
  readonly readsSecrets?: boolean;
}

/** Those of the environment that the program may read. */
export function environmentVariables(): Variable[] {
  return VARIABLE_NAMES.flatMap((name): Variable[] => {
    const { state } = Deno.permissions.querySync({ name: "env", variable: name });
    const value = state === "granted" ? Deno.env.get(name) : undefined;
    return value ? [{ name, value, origin: { variable: name } }] : [];
  });
}

/** Names of the environment that begin like ours and mean nothing, as far as it can be looked into. */
export async function unknownVariables(): Promise<string[]> {
  return (await environmentNames()).filter((name) =>
    name.startsWith(VARIABLE_PREFIX) && name !== CONFINEMENT_MARK && !VARIABLE_NAMES.includes(name)
  ).sort();
}

async function environmentNames(): Promise<string[]> {
  const granted = (name: "env" | "ffi") => Deno.permissions.querySync({ name }).state === "granted";
  if (granted("env")) return Object.keys(Deno.env.toObject());
  if (Deno.build.os !== "linux" || !granted("ffi")) return [];
  try {
    return (await import("../../ffi/mod.ts")).environmentNames();
  } catch {
    return []; // no C library of that name
  }
}

function warningOf(name: string): string {
  const near = suggest(name, VARIABLE_NAMES);
  const hint = near ? `did you mean ${near}?` : "expected one of docs/configuration.md";
  const shown = shownVariable(name);
  const what = shown === name ? shown : `a name that begins with ${VARIABLE_PREFIX}`;
  return `environment: ${what}: unknown variable, ${hint}`;
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
): Promise<LoadedConfig> {
  return loadSource(await new ConfigReader({ file }, terminal).source(text));
}

/**
 * The same, where it is no matter what the keys are that stand in files of their own, which only the
 * gateway may be able to read: others stand for them.
 *
 * @throws {ConfigError} naming every problem.
 */
export async function loadWithoutSecrets(
  text: string,
  file: string,
  terminal: Terminal,
): Promise<{
  readonly loaded: LoadedConfig;
  /** Whether the private key is the gateway's. */
  readonly hasPrivateKey: boolean;
}> {
  const source = await new ConfigReader({ file, readsSecrets: false }, terminal).source(text);
  for (const { section, key, origin } of source.secretFiles) {
    source.set(section, key, generatePrivateKey(), origin);
  }
  const own = source.interface as RawSection | undefined;
  const hasPrivateKey = typeof own?.privateKey === "string";
  if (own !== undefined && own.privateKey === undefined) {
    source.set(["interface"], PRIVATE_KEY, generatePrivateKey(), { file, line: 1 });
  }
  return { loaded: loadSource(source), hasPrivateKey };
}

/** Reads one configuration, again if need be. */
export class ConfigReader {
  readonly #request: ConfigRequest;
  readonly #terminal: Terminal;
  /** What secrets were read from that is there once: standard input, descriptors, pipes. */
  readonly #kept = new Map<string, string>();
  #isRead = false;

  constructor(request: ConfigRequest, terminal: Terminal) {
    this.#request = request;
    this.#terminal = terminal;
  }

  /**
   * @param texts Of files that this process may not be able to read.
   * @throws {ConfigError} naming every problem.
   */
  async load(texts?: Texts): Promise<LoadedConfig> {
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
    const text = file === undefined ? undefined : told(texts, file) ??
      await readText(file, expectedFile(form ?? formOf(file)), this.#terminal, {
        pipes: !this.#isRead,
      });
    const { source, files } = await this.#source(text, texts);
    this.#isRead = true;
    const loaded = loadSource(source);
    const open = await Promise.all(files.map(isWorldAccessible));
    const readable = files.filter((_, i) => open[i])
      .map((name) => `${shownPath(name)}: is world accessible, expected mode 600`);
    const { unknown = [] } = this.#request;
    return { ...loaded, warnings: [...readable, ...unknown.map(warningOf), ...advise(loaded)] };
  }

  /** The values of a text that stands for the file's own, with what it names. */
  async source(text: string): Promise<ConfigSource> {
    return (await this.#source(text)).source;
  }

  async #source(text: string | undefined, texts?: Texts) {
    const { file, form, flags = [], variables = [], readsSecrets = true } = this.#request;
    const source = emptySource(this.#request);
    source.hasDevice = this.#request.hasDevice ?? false;
    const files: string[] = [];
    let left = MAX_CONFIG_BYTES - (text?.length ?? 0);
    const readPart = async (name: string, expected: string) => {
      const part = told(texts, name) ?? await readFileText(name, expected, { bytes: left });
      left -= part.length;
      return part;
    };
    if (file !== undefined && text !== undefined) {
      await parseForm(source, text, file, form ?? formOf(file));
      files.push(file, ...(await readIncludes(source, file, readPart)).files);
    }
    resolvePaths(source);
    applyVariables(source, variables);
    applyFlags(source, flags);
    if (!source.isUnreadable) this.#request.complete?.(source);
    if (readsSecrets) {
      files.push(
        ...await readSecrets(source, (name, expected) => this.#readSecret(name, expected, texts)),
      );
    }
    return { source, files };
  }

  async #readSecret(name: string, expected: string, texts?: Texts): Promise<string> {
    const isInput = isStandardInput(name);
    if (isInput && this.#request.file !== undefined && isStandardInput(this.#request.file)) {
      throw new ConfigError([`${name}: is the configuration already, expected a file with a key`]);
    }
    const kept = this.#kept.get(name);
    if (kept !== undefined) return kept;
    const limits = { bytes: MAX_SECRET_BYTES, pipes: !this.#isRead };
    const text = told(texts, name) ??
      await readText(name, isInput ? "a key" : expected, this.#terminal, limits);
    if (isDescriptor(name) || await isPipe(name)) this.#kept.set(name, text);
    return text;
  }
}

/** What somebody else has read of a file. */
function told(texts: Texts | undefined, name: string): string | undefined {
  return texts?.get(resolve(name));
}

async function isPipe(name: string): Promise<boolean> {
  try {
    return (await Deno.stat(name)).isFifo === true;
  } catch {
    return false;
  }
}

/** Where missing values are reported. */
function emptySource({ file, form, flags = [], variables = [] }: ConfigRequest): ConfigSource {
  if (file === undefined) {
    if (flags.length === 0) return new ConfigSource({ variable: "environment" });
    return new ConfigSource({ flag: variables.length > 0 ? "flags and environment" : "flags" });
  }
  return sourceFor(file, form);
}
