/**
 * What a whole-system tunnel changes on this host, a step at a time: as plain values, so that a plan
 * can be looked at without a kernel, and what takes a step back can be written down before it is done.
 *
 * @module
 */

import { parsePrefix } from "../address.ts";

/** One change. */
export interface Step {
  /** As a command would say it, for the log. */
  readonly title: string;
  readonly action: Action;
  /** Missing: it goes with the device, which goes with the process. */
  readonly undo?: Undo;
}

export type Action =
  | AddressAction
  | LinkAction
  | RouteAction
  | LocalRouteAction
  | RuleAction
  | NftAction
  | SysctlAction
  | DnsAction;

/** `ADDRESS/LENGTH` on a device. */
export interface AddressAction {
  readonly kind: "address";
  readonly device: string;
  readonly address: string;
}

/** MTU in bytes, and up. */
export interface LinkAction {
  readonly kind: "link";
  readonly device: string;
  readonly mtu: number;
}

export interface RouteAction {
  readonly kind: "route";
  readonly device: string;
  readonly destination: string;
  /** Missing: the main one. */
  readonly table?: number;
}

/** Everything that is looked up in a table of ours is taken as this host's own. */
export interface LocalRouteAction {
  readonly kind: "local-route";
  readonly family: 4 | 6;
  readonly table: number;
}

/** A routing rule. Its priority makes it one of a kind, so that another tunnel's stays. */
export interface RuleAction {
  readonly kind: "rule";
  readonly family: 4 | 6;
  readonly priority: number;
  readonly mark?: number;
  /** For what does not match. */
  readonly not?: boolean;
  /** `ADDRESS/LENGTH`. */
  readonly destination?: string;
  readonly table: number;
  readonly suppressPrefixLength?: number;
}

/** A script of nft's language, done whole or not at all. */
export interface NftAction {
  readonly kind: "nft";
  readonly script: string;
}

/** As sysctl names it, with dots; a device's own dots are slashes, as sysctl(8) has them. */
export interface SysctlAction {
  readonly kind: "sysctl";
  readonly key: string;
  readonly value: string;
}

/** Name servers and search domains for this host. */
export interface DnsAction {
  readonly kind: "dns";
  readonly method: DnsMethod;
  readonly device: string;
  readonly servers: readonly string[];
  readonly domains: readonly string[];
}

/** Who keeps this host's name servers. */
export type DnsMethod = "resolvconf" | "resolvectl" | "file";

/**
 * How a step is taken back. Taking back what is not there, or what somebody else has changed since,
 * does nothing: a step is written down before it is done.
 *
 * These lie in a file that the unprivileged gateway can still write to, and root reads: nothing here
 * may name a file, a program or a script.
 */
export type Undo =
  | RuleUndo
  | LocalRouteUndo
  | NftTableUndo
  | NftRuleUndo
  | SysctlUndo
  | DnsUndo;

export type RuleUndo = RuleAction;

export type LocalRouteUndo = LocalRouteAction;

/** Removes a table of ours, with all that is in it. */
export interface NftTableUndo {
  readonly kind: "nft-table";
  readonly family: NftFamily;
  /** Begins with `wirestack-`. */
  readonly table: string;
}

/** Removes a rule from somebody else's chain, by its comment. */
export interface NftRuleUndo {
  readonly kind: "nft-rule";
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  /** Begins with `wirestack-`. */
  readonly comment: string;
}

export type NftFamily = "inet" | "ip" | "ip6";

/** Sets a value as it was before, if it is still what it was set to and no other tunnel needs it. */
export interface SysctlUndo {
  readonly kind: "sysctl";
  readonly key: string;
  readonly value: string;
  readonly before: string;
}

export interface DnsUndo {
  readonly kind: "dns";
  readonly method: DnsMethod;
  readonly device: string;
}

/** Of wg-quick: the first table and mark it tries. Those below are the system's, and other programs'. */
export const FIRST_TABLE = 51820;

/** What tables and comments of ours begin with. */
export const OWN_PREFIX = "wirestack-";

/**
 * The name of a table of ours, which nft reads as it prints it: a word of its language has letters, digits
 * and `/ - _ .`, of which a device has no slash. So a sign that is in no word is `/` and its number.
 *
 * @param what Beside the one that every tunnel has.
 * @param name A device's, or a redirect's.
 */
export function nftTableName(name: string, what?: "kill" | "nat" | "redirect"): string {
  const encode = (sign: string) => `/${sign.charCodeAt(0).toString(16).padStart(2, "0")}`;
  const word = name.replace(/[^\w.-]/g, encode);
  if (what !== undefined) return `${OWN_PREFIX}${what}-${word}`;
  // A device called kill-x is not the kill switch of x.
  return OWN_PREFIX + word.replace(/^(kill|nat|redirect)-/, `$1${encode("-")}`);
}

/** @returns undefined for what is no record of ours, or a malformed one. */
export function parseUndo(value: unknown): Undo | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const record = value as Record<string, unknown>;
  const isOwn = (key: string) =>
    isWord(record[key]) && (record[key] as string).startsWith(OWN_PREFIX);
  switch (record.kind) {
    case "rule":
      return (record.family === 4 || record.family === 6) && isNumber(record.table) &&
          isNumber(record.priority) && isOptional(record.mark, isNumber) &&
          isOptional(record.suppressPrefixLength, isNumber) &&
          isOptional(record.not, (not) => typeof not === "boolean") &&
          isOptional(record.destination, isPrefix)
        ? record as unknown as RuleUndo
        : undefined;
    case "local-route":
      return (record.family === 4 || record.family === 6) && isNumber(record.table) &&
          (record.table as number) >= FIRST_TABLE
        ? record as unknown as LocalRouteUndo
        : undefined;
    case "nft-table":
      return isFamily(record.family) && isOwn("table")
        ? record as unknown as NftTableUndo
        : undefined;
    case "nft-rule":
      return isFamily(record.family) && isWord(record.table) && isWord(record.chain) &&
          isOwn("comment")
        ? record as unknown as NftRuleUndo
        : undefined;
    case "sysctl":
      return isSysctl(record.key) && isWord(record.value) && isWord(record.before)
        ? record as unknown as SysctlUndo
        : undefined;
    case "dns":
      return ["resolvconf", "resolvectl", "file"].includes(record.method as string) &&
          isDevice(record.device)
        ? record as unknown as DnsUndo
        : undefined;
    default:
      return undefined;
  }
}

/** The file of a setting below /proc/sys. */
export function sysctlPath(key: string): string {
  return `/proc/sys/${key.replace(/[./]/g, (sign) => sign === "." ? "/" : ".")}`;
}

function isNumber(value: unknown): boolean {
  return Number.isInteger(value) && value as number >= 0 && value as number <= 0xffff_ffff;
}

function isOptional(value: unknown, is: (value: unknown) => boolean): boolean {
  return value === undefined || is(value);
}

function isPrefix(value: unknown): boolean {
  return typeof value === "string" && parsePrefix(value) !== undefined;
}

function isFamily(value: unknown): boolean {
  return ["inet", "ip", "ip6"].includes(value as string);
}

/** Nothing that could end a word of nft's language. */
function isWord(value: unknown): boolean {
  return typeof value === "string" && /^[\w.:=+/-]{1,96}$/.test(value);
}

/** Of a network device, such as nft can be told: nothing ends a word of its language. */
export function isDevice(value: unknown): boolean {
  return typeof value === "string" && /^[\w=+.-]{1,15}$/.test(value);
}

/** Of the network alone, and without a way out of its folder. */
function isSysctl(value: unknown): boolean {
  return typeof value === "string" && /^net\.[\w./=+-]{1,100}$/.test(value) &&
    !sysctlPath(value).includes("/../");
}

/**
 * Sets a value of sysctl. It is a step also where it has that value already: somebody who goes before
 * this tunnel does must know that it is needed still.
 */
export function sysctlSteps(
  key: string,
  value: string,
  host: { sysctl(key: string): string | undefined },
): Step[] {
  const before = host.sysctl(key);
  if (before === undefined) return [];
  return [{
    title: `sysctl ${key}=${value}`,
    action: { kind: "sysctl", key, value },
    undo: { kind: "sysctl", key, value, before },
  }];
}
