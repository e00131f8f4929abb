/**
 * Every key of the configuration, once: its name in the file, in an embedder's object and on the
 * command line.
 *
 * @module
 */

import { CAPTURE_KEYS } from "./keys/capture.ts";
import { INTERFACE_KEYS } from "./keys/interface.ts";
import type { Key, Section } from "./keys/key.ts";
import { LINK_KEYS } from "./keys/link.ts";
import { LOG_KEYS } from "./keys/log.ts";
import { PEER_KEYS } from "./keys/peer.ts";
import { PROXY_KEYS } from "./keys/proxy.ts";
import { RELAY_KEYS } from "./keys/relay.ts";
import { RULE_KEYS } from "./keys/rule.ts";
import { STATUS_KEYS } from "./keys/status.ts";

export type { Key, Section };

/** The sections, by their name in the file. */
export const SECTION_NAMES: Readonly<Record<Section, string>> = {
  interface: "Interface",
  peers: "Peer",
  rules: "Rule",
  links: "Link",
  proxy: "Proxy",
  relay: "Relay",
  status: "Status",
  capture: "Capture",
  log: "Log",
};

/** Those of which there may be several. */
export type RepeatedSection = "peers" | "rules" | "links";

/** Whether there may be several of a section. */
export function isRepeated(section: Section): section is RepeatedSection {
  return section === "peers" || section === "rules" || section === "links";
}

export const KEYS: readonly Key[] = [
  ...INTERFACE_KEYS,
  ...PEER_KEYS,
  ...RULE_KEYS,
  ...LINK_KEYS,
  ...PROXY_KEYS,
  ...RELAY_KEYS,
  ...STATUS_KEYS,
  ...CAPTURE_KEYS,
  ...LOG_KEYS,
];

/** The key of a section by its name in the file, in any case. */
export function findKey(section: Section, name: string): Key | undefined {
  return FILE_KEYS.get(`${section}.${name.toLowerCase()}`);
}

/** The key of a section by its name in {@link ConfigInput}. */
export function findField(section: Section, field: string): Key | undefined {
  return FIELD_KEYS.get(`${section}.${field}`);
}

/** The key whose value a file holds, by the name of that file's key: `PrivateKeyFile`, in any case. */
export function findFileKey(section: Section, name: string): Key | undefined {
  const key = findKey(section, name.replace(/File$/i, ""));
  return key?.secret && /File$/i.test(name) ? key : undefined;
}

/** The same by the name in an object: `privateKeyFile`. */
export function findFileField(section: Section, field: string): Key | undefined {
  const key = findField(section, field.replace(/File$/, ""));
  return key?.secret && field === fileFieldOf(key) ? key : undefined;
}

/** Of a secret: the name, in an object, of what names a file with it. */
export function fileFieldOf(key: Key): string {
  return `${key.field}File`;
}

/** Begins the name of every variable of the environment. */
export const VARIABLE_PREFIX = "WIRESTACK_";

/** A variable's name for a message: what is written as one may be a secret that slipped. */
export function shownVariable(name: string): string {
  return name.startsWith(VARIABLE_PREFIX) && /^[A-Z0-9_]{1,48}$/.test(name) ? name : "line";
}

/** The variable of the environment; undefined for a key that has none. A secret's names a file. */
export function variableOf(key: Key): string | undefined {
  if (isRepeated(key.section) || key.flag === undefined) return undefined;
  return VARIABLE_PREFIX + key.flag.toUpperCase().replaceAll("-", "_");
}

/** The variable that holds a secret itself. */
export function secretVariableOf(key: Key): string | undefined {
  return key.secret && variableOf(key)?.replace(/_FILE$/, "");
}

/** The variable that holds all sections of a kind, as JSON. */
export function variableOfList(section: Section): string {
  return VARIABLE_PREFIX + section.toUpperCase();
}

/** The section by its name in the file, in any case. */
export function findSection(name: string): Section | undefined {
  return SECTIONS.get(name.toLowerCase());
}

const FILE_KEYS = new Map(KEYS.map((key) => [`${key.section}.${key.name.toLowerCase()}`, key]));
const FIELD_KEYS = new Map(KEYS.map((key) => [`${key.section}.${key.field}`, key]));
const SECTIONS = new Map(
  Object.entries(SECTION_NAMES).map(([section, name]) => [name.toLowerCase(), section as Section]),
);
