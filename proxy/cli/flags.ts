/**
 * Configuration by flags: one for every key that has an effect. They override the file's values.
 * Keys are read from files: an argument list can be read by every user of the machine.
 *
 * @module
 */

import { type Command, Option } from "npm:commander@15.1.0";
import type { ConfigPath } from "../config/error.ts";
import { isRepeated, type Key, KEYS, type Section } from "../config/keys.ts";
import type { ConfigSource } from "../config/source.ts";
import { splitValues } from "../config/values.ts";

/** A flag and its value, as they stand on the command line. */
export interface FlagValue {
  readonly key: Key;
  readonly value: string;
  /** What the flag is called, where it is not the key's own. */
  readonly flag?: string;
}

const HEADINGS: Readonly<Record<Section, string>> = {
  interface: "Tunnel:",
  peers: "Peers:",
  rules: "Rules:",
  links: "Links:",
  proxy: "Proxy:",
  relay: "Relay:",
  status: "Status:",
  capture: "Capture:",
  log: "Log:",
};

/**
 * Declares the flags.
 *
 * @param isWanted Of which keys. Default: all.
 * @returns the values in the order given, filled while the command line is parsed.
 */
export function addConfigFlags(
  command: Command,
  isWanted: (key: Key) => boolean = () => true,
): readonly FlagValue[] {
  const values: FlagValue[] = [];
  for (const key of KEYS) {
    if (key.flag === undefined || !isWanted(key)) continue;
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

/** Puts the flags' values over those of a file, or into an empty source. Files they name are not read. */
export function applyFlags(source: ConfigSource, flags: readonly FlagValue[]): void {
  const given = new Set<string>();
  let peer: ConfigPath | undefined;
  let rule: ConfigPath | undefined;
  let link: ConfigPath | undefined;
  for (const { key, value, flag = `--${key.flag}` } of flags) {
    const origin = { flag };
    if (key.section === "peers" && key.field === "publicKey") {
      peer = source.findPeer(value) ?? source.open("peers", origin);
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
    if (key.section === "links" && key.field === "name") {
      if (link === undefined) source.clear("links");
      link = source.open("links", origin);
      source.set(link, key, value, origin);
      continue;
    }
    const of = { peers: peer, rules: rule, links: link };
    const path = isRepeated(key.section) ? of[key.section] : source.ensure(key.section, origin);
    if (path === undefined) {
      const what = { peers: "peer", rules: "rule", links: "link" }[key.section as "peers"];
      source.problemAt(origin, `stands before any --${what}, expected behind its ${what}`);
      continue;
    }
    const name = [...path, key.field].join(".");
    if (key.secret) {
      source.setFile(path, key, value, origin);
    } else if (key.list === undefined) {
      source.set(path, key, value, origin);
    } else {
      if (!given.has(name)) source.set(path, key, [], origin);
      source.append(path, key, splitValues(key, value), origin);
    }
    given.add(name);
  }
}
