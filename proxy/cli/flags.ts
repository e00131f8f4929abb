/**
 * Configuration by flags: one for every key that has an effect. They override the file's values.
 * Keys are read from files: an argument list can be read by every user of the machine.
 *
 * @module
 */

import { type Command, Option } from "npm:commander@15.1.0";
import { ConfigError, type ConfigPath } from "../config/error.ts";
import { type Key, KEYS, type Section } from "../config/keys.ts";
import type { ConfigSource, RawSection } from "../config/source.ts";
import { ParseFailure, parseKey, splitValues } from "../config/values.ts";
import { readText } from "./read.ts";
import type { Terminal } from "./terminal.ts";

/** A flag and its value, as they stand on the command line. */
export interface FlagValue {
  readonly key: Key;
  readonly value: string;
}

const HEADINGS: Readonly<Record<Section, string>> = {
  interface: "Tunnel:",
  peers: "Peers:",
  rules: "Rules:",
  proxy: "Proxy:",
  status: "Status:",
  log: "Log:",
};

/**
 * Declares the flags.
 *
 * @returns the values in the order given, filled while the command line is parsed.
 */
export function addConfigFlags(command: Command): readonly FlagValue[] {
  const values: FlagValue[] = [];
  for (const key of KEYS) {
    if (key.flag === undefined) continue;
    const option = new Option(`--${key.flag} <${key.argument}>`, key.help)
      .helpGroup(HEADINGS[key.section])
      .argParser((value: string) => {
        values.push({ key, value });
        return value;
      });
    command.addOption(option);
  }
  return values;
}

/** Puts the flags' values over those of a file, or into an empty source. */
export async function applyFlags(
  source: ConfigSource,
  flags: readonly FlagValue[],
  terminal: Terminal,
): Promise<void> {
  const given = new Set<string>();
  let peer: ConfigPath | undefined;
  let rule: ConfigPath | undefined;
  for (const { key, value } of flags) {
    const origin = { flag: `--${key.flag}` };
    if (key.section === "peers" && key.field === "publicKey") {
      peer = findPeer(source, value) ?? source.open("peers", origin);
      source.set(peer, key, value, origin);
      continue;
    }
    if (key.section === "rules" && key.field === "action") {
      // Rules are in order: there is no place for one among those of a file.
      if (rule === undefined) source.clear("rules");
      rule = source.open("rules", origin);
      source.set(rule, key, value, origin);
      continue;
    }
    const path = key.section === "peers" ? peer : key.section === "rules" ? rule : [key.section];
    if (path === undefined) {
      const what = key.section === "peers" ? "peer" : "rule";
      source.problemAt(origin, `stands before any --${what}, expected behind its ${what}`);
      continue;
    }
    if (source[key.section] === undefined) {
      source.open(key.section, origin);
    }
    const name = [...path, key.field].join(".");
    if (key.secret) {
      await setFromFile(source, path, key, value, terminal);
    } else if (key.list === undefined) {
      source.set(path, key, value, origin);
    } else {
      if (!given.has(name)) source.set(path, key, [], origin);
      source.append(path, key, splitValues(key, value), origin);
    }
    given.add(name);
  }
}

function findPeer(source: ConfigSource, publicKey: string): ConfigPath | undefined {
  const index = (source.peers as RawSection[]).findIndex((peer) => peer.publicKey === publicKey);
  return index < 0 ? undefined : ["peers", index];
}

async function setFromFile(
  source: ConfigSource,
  section: ConfigPath,
  key: Key,
  file: string,
  terminal: Terminal,
): Promise<void> {
  const origin = { flag: `--${key.flag}` };
  try {
    const text = await readText(file, "a file with a key", terminal);
    source.set(section, key, text, origin);
    const read = parseKey(text.trim());
    // Said here, where the file's name is known.
    if (read instanceof ParseFailure) {
      source.problem([...section, key.field], `${file}: ${read.message}`);
    }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    source.set(section, key, "", origin);
    source.problem([...section, key.field], error.message);
  }
}
