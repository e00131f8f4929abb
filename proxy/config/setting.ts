/**
 * Single settings that are changed while a gateway runs: `Proxy.TcpDialTimeout=5`,
 * `Peer.laptop.RateDown=5Mbit`, `Rule.3.Rate=`.
 *
 * @module
 */

import {
  findField,
  findKey,
  findSection,
  isRepeated,
  type Key,
  KEYS,
  type Section,
  SECTION_NAMES,
} from "./keys.ts";
import { suggest } from "./suggest.ts";
import { quote } from "./values.ts";

/** One of them, its value unchecked. */
export interface Setting {
  /** As the user has written it: it stands in front of what is wrong with it. */
  readonly label: string;
  readonly key: Key;
  /** A peer's name or public key, or a rule's number; undefined for a section that there is once. */
  readonly of: string | undefined;
  /** Null takes it away: the default. */
  readonly value: unknown;
}

export interface Settings {
  readonly settings: readonly Setting[];
  /** A line each. */
  readonly problems: readonly string[];
}

/** Keys that stay as they are while a gateway runs. */
export const FIXED_KEYS: readonly string[] = [
  "Address",
  "AddressPool",
  "MTU",
  "RekeyAfter",
  "PeerToPeer",
  "ControlDir",
  // What makes a device of the operating system.
  ...["DNS", "Table", "KillSwitch", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig"],
  "Interface",
  // Of [Relay], [Status], [Capture] and [Log].
  "Listen",
  "Write",
  "At",
  "Filter",
  "Snap",
  "Rotate",
  "Output",
  "Access",
];

const FORM = "expected SECTION.KEY=VALUE, as Proxy.TcpDialTimeout=5, Peer.laptop.AllowedIPs=… or " +
  "Rule.3.Rate=…";

/** Settings from a command line. */
export function parseSettings(texts: readonly string[]): Settings {
  return collected(texts.map(parseSetting));
}

/** Settings from an object of the module's: by section and field, peers and rules by name or number. */
export function settingsOfObject(input: object): Settings {
  const found: (Setting | string)[] = [];
  for (const [section, values] of Object.entries(input)) {
    if (values === undefined) continue;
    if (!isSection(section)) found.push(`${section}: unknown, ${expectedOf(FIELDS, section)}`);
    else if (typeof values !== "object" || values === null) {
      found.push(`${section}: is no object, expected one with its keys`);
    } else if (!isRepeated(section)) found.push(...fieldsOf(section, values, section, undefined));
    else {
      for (const [of, each] of Object.entries(values)) {
        found.push(...fieldsOf(section, Object(each), `${section}.${of}`, of));
      }
    }
  }
  return collected(found);
}

const FIELDS: readonly string[] = Object.keys(SECTION_NAMES);

function isSection(name: string): name is Section {
  return FIELDS.includes(name);
}

function fieldsOf(
  section: Section,
  values: object,
  label: string,
  of: string | undefined,
): (Setting | string)[] {
  return Object.entries(values).flatMap(([field, value]) => {
    if (value === undefined) return [];
    const path = `${label}.${field}`;
    const key = findField(section, field);
    const known = KEYS.filter((key) => key.section === section).map(({ field }) => field);
    if (key === undefined) return [`${path}: unknown, ${expectedOf(known, field)}`];
    return [checked({ label: path, key, of, value })];
  });
}

function parseSetting(text: string): Setting | string {
  // A public key ends with =, and has no dot in it; a name may have dots, but no =.
  const [, of, left, value] = /^[a-z]+\.(?:([a-z0-9+/]{43}=)\.)?([^=]*)=(.*)$/is.exec(text) ?? [];
  const dot = text.indexOf(".");
  if (left === undefined || value === undefined) return `${quote(text)}: ${whatIsMissing(text)}`;
  const sectionName = text.slice(0, dot);
  const section = findSection(sectionName);
  if (section === undefined) {
    const sections = Object.values(SECTION_NAMES);
    return `${quote(sectionName)}: unknown, ${expectedOf(sections, sectionName)}`;
  }
  const last = left.lastIndexOf(".");
  const name = last < 0 ? of : of ?? left.slice(0, last);
  const keyName = left.slice(last + 1);
  const which = SECTION_NAMES[section];
  const label = [which, ...name === undefined ? [] : [name], keyName].join(".");
  const isOne = !isRepeated(section);
  if (isOne && name !== undefined) return `${label}: expected ${which}.${keyName}=…`;
  if (!isOne && (name === undefined || name === "")) {
    const example = section === "rules" ? "3" : section === "links" ? "phone" : "laptop";
    if (findKey(section, keyName) === undefined) {
      const known = section === "rules" ? "Rate" : section === "links" ? "Mtu" : "AllowedIPs";
      return `${label}: has no key, expected one as ${which}.${keyName || example}.${known}=…`;
    }
    return `${label}: says of no ${which.toLowerCase()}, expected ${which}.${example}.${keyName}=…`;
  }
  const key = findKey(section, keyName);
  if (key === undefined) {
    const known = KEYS.filter((key) => key.section === section && !key.inert);
    return `${label}: unknown, ${expectedOf(known.map(({ name }) => name), keyName)}`;
  }
  const exact = [which, ...name === undefined ? [] : [name], key.name].join(".");
  if (key.secret) {
    return `${exact}: a command line shows it to everybody, expected it in the file, and a reload`;
  }
  return checked({ label: exact, key, of: name, value: value.trim() === "" ? null : value });
}

function whatIsMissing(text: string): string {
  const name = text.replace(/=.*/s, "");
  const sections = Object.keys(SECTION_NAMES) as Section[];
  const section = sections.find((section) => findKey(section, name) !== undefined);
  if (section === undefined || !text.includes("=")) return FORM;
  const of = section === "rules" ? "NUMBER." : isRepeated(section) ? "NAME." : "";
  return `did you mean ${SECTION_NAMES[section]}.${of}${findKey(section, name)!.name}=…?`;
}

/** The setting, or why it cannot change. */
function checked(setting: Setting): Setting | string {
  const { label, key } = setting;
  if (key.inert === "app") return `${label}: has no effect, expected a key that has one`;
  if (key.section === "peers" && key.field === "publicKey") {
    return `${label}: a peer's key cannot change, expected another peer`;
  }
  if (key.section === "links") {
    return `${label}: a link cannot change by itself, expected it in the configuration, and a reload`;
  }
  if (key.section !== "peers" && FIXED_KEYS.includes(key.name)) {
    return `${label}: cannot change while running, expected it in the configuration, and a restart`;
  }
  if (key.section === "relay" || isReadWithOthers(key)) {
    return `${label}: cannot change by itself, expected it in the configuration, and a reload`;
  }
  return setting;
}

/** Keys that say nothing but together, and name files, which only a start and a reload read. */
function isReadWithOthers({ section, field }: Key): boolean {
  return section === "interface" && PEER_LIST_FIELDS.includes(field) ||
    section === "peers" && FALLBACK_FIELDS.includes(field);
}

const PEER_LIST_FIELDS: readonly string[] = ["peersFrom", "peersKey", "peersCa", "peersInterval"];
const FALLBACK_FIELDS: readonly string[] = ["fallback", "cert", "key", "ca", "pin", "renewAt"];

function expectedOf(known: readonly string[], given: string): string {
  const near = suggest(given, known);
  return near === undefined ? `expected one of ${known.join(", ")}` : `did you mean ${near}?`;
}

function collected(found: readonly (Setting | string)[]): Settings {
  return {
    settings: found.filter((each) => typeof each !== "string"),
    problems: found.filter((each) => typeof each === "string"),
  };
}
