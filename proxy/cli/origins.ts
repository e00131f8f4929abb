/**
 * `check --show-origin`: every value, and where it comes from.
 *
 * @module
 */

import { DEFAULT_RATE_BURST_MS } from "../config/defaults.ts";
import type { ConfigPath } from "../config/error.ts";
import { defaultOf, valueText } from "../config/describe.ts";
import { isRepeated, type Key, KEYS, type Section, SECTION_NAMES } from "../config/keys.ts";
import { type ConfigSource, type Origin, placeOf, type RawSection } from "../config/source.ts";
import { controlDirectory } from "../control/socket_path.ts";
import { bufferMemory } from "../gateway/buffer_memory.ts";

/**
 * One line each, as `git config --show-origin` has it: the place, a tab, `Section.Key = value`. A
 * peer is called by its name, or its number from 1. Values of a list that come from several places
 * have a line each. Secrets are not shown, what is neither given nor has a default is left out. A
 * default in brackets is no value that one could write.
 */
export function formatOrigins(source: ConfigSource): string {
  return (Object.keys(SECTION_NAMES) as Section[]).flatMap((section) => {
    const values = source[section];
    if (!isRepeated(section)) {
      if (values === undefined && OPTIONAL.includes(section)) return [];
      return formatSection(source, [section], SECTION_NAMES[section]);
    }
    return (values as RawSection[] | undefined ?? []).flatMap((item, i) => {
      const name = typeof item.name === "string" ? item.name : String(i + 1);
      return formatSection(source, [section, i], `${SECTION_NAMES[section]}.${name}`);
    });
  }).map((line) => `${line}\n`).join("");
}

/** Without them there is none of it. The others' defaults are in force. */
const OPTIONAL: readonly Section[] = ["proxy", "status"];

function formatSection(source: ConfigSource, path: ConfigPath, name: string): string[] {
  const section = source.section(path) ?? {};
  return KEYS.filter((key) => key.section === path[0]).flatMap((key) => {
    const value = section[key.field];
    const line = (origin: string, text: string) => `${origin}\t${name}.${key.name} = ${text}`;
    if (value === undefined) {
      const otherwise = defaultOf(key) ?? OTHERWISE[`${key.section}.${key.field}`]?.();
      return otherwise === undefined ? [] : [line("default", otherwise)];
    }
    if (key.secret) return [line(describe(source, [...path, key.field], key), "(hidden)")];
    if (!Array.isArray(value)) {
      return [line(describe(source, [...path, key.field], key), oneLine(valueText(value)))];
    }
    const groups = new Map<string, string[]>();
    value.forEach((item, i) => {
      const origin = describe(source, [...path, key.field, i], key);
      groups.set(origin, [...groups.get(origin) ?? [], oneLine(valueText(item))]);
    });
    return Array.from(groups, ([origin, items]) => line(origin, items.join(", ")));
  });
}

/** Defaults that are no single value of the schema's: of lists, and those that this host decides. */
const OTHERWISE: Readonly<Record<string, () => string>> = {
  "interface.listenPort": () => "(any free one)",
  "interface.listenAddress": () => "(all of this host)",
  "interface.rekeyAfter": () => "120",
  "interface.controlDir": controlDirectory,
  "peers.rateUp": () => "(no limit)",
  "peers.rateDown": () => "(no limit)",
  "peers.rateBurst": () => String(DEFAULT_RATE_BURST_MS / 1000),
  "peers.maxTcpConnections": () => "(no limit of its own)",
  "peers.maxUdpSessions": () => "(no limit of its own)",
  "rules.from": () => "(everybody)",
  "rules.to": () => "(everywhere)",
  "rules.ports": () => "(all)",
  "rules.rate": () => "(no limit)",
  "rules.flowRate": () => "(no limit)",
  "rules.maxConnections": () => "(no limit of its own)",
  "proxy.protocols": () => "tcp, udp, icmp",
  "proxy.resolver": () => "(as the system resolves)",
  "proxy.maxBufferMemory": () => String(bufferMemory(undefined)),
  "log.accessProtocols": () => "tcp, udp, icmp",
};

function describe(source: ConfigSource, path: ConfigPath, key: Key): string {
  const origin = source.origin(path) ?? source.origin(path.slice(0, path.indexOf(key.field) + 1));
  return origin === undefined ? "?" : describeOrigin(origin);
}

function describeOrigin(origin: Origin): string {
  if ("flag" in origin) return `flag ${origin.flag}`;
  if ("variable" in origin) return `environment ${origin.variable}`;
  return placeOf(origin);
}

/** A value may hold what a terminal would obey. */
function oneLine(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}
