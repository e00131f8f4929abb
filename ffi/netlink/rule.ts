/**
 * Rules for which table routes a packet, in netlink messages, <linux/fib_rules.h>.
 *
 * @module
 */

import { addressText, masked, prefixBytes } from "./address.ts";
import { attribute, decodeAttributes, readText, readU32, text, u32, viewOf } from "./message.ts";
import { AF_INET, AF_INET6 } from "../sockaddr.ts";

/** <linux/rtnetlink.h> */
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;

/**
 * Struct fib_rule_hdr: u8 family, destination's bits, source's, TOS, table, 2 of nothing, action;
 * u32 flags.
 */
const HEADER_SIZE = 12;
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_SUPPRESS_PREFIXLEN = 14;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_OIFNAME = 17;
const FR_ACT_TO_TBL = 1;
const FIB_RULE_INVERT = 2;
/** A suppressed length that suppresses nothing, a mask that lets all bits count. */
const ALL_ONES = 0xffffffff;

/** A rule to be added or removed; of one to be removed, what must be so. */
export interface RuleSpec {
  readonly family: 4 | 6;
  readonly table: number;
  /** Lower comes first; the kernel puts it before all but the first if it is not given. */
  readonly priority?: number;
  /** Of a packet, or of its socket. */
  readonly mark?: number;
  /** Which bits of the mark count; all of them if it is not given. */
  readonly mask?: number;
  /** For packets of which the rest is not so. */
  readonly not?: boolean;
  /** `ADDRESS/LENGTH`. */
  readonly source?: string;
  readonly destination?: string;
  /** Names of interfaces. */
  readonly inputDevice?: string;
  readonly outputDevice?: string;
  /** Routes of so many bits, or fewer, in the table do not count. */
  readonly suppressPrefixLength?: number;
}

/** A rule as the kernel has it. */
export interface Rule extends RuleSpec {
  readonly priority: number;
  readonly not: boolean;
  /** 1: look into the table. Others do without. */
  readonly action: number;
}

/** The body of a request about one rule. @throws {RangeError} for what is no prefix. */
export function encodeRule(rule: RuleSpec): Uint8Array[] {
  const header = new Uint8Array(HEADER_SIZE);
  header[0] = rule.family === 4 ? AF_INET : AF_INET6;
  header[4] = rule.table < 256 ? rule.table : 0;
  header[7] = FR_ACT_TO_TBL;
  if (rule.not) viewOf(header).setUint32(8, FIB_RULE_INVERT, true);
  const parts: Uint8Array[] = [header, attribute(FRA_TABLE, u32(rule.table))];
  for (const [type, value] of [[FRA_DST, rule.destination], [FRA_SRC, rule.source]] as const) {
    if (value === undefined) continue;
    const prefix = prefixBytes(value);
    header[type] = prefix.length;
    parts.push(attribute(type, masked(prefix)));
  }
  const numbers: [number, number | undefined][] = [
    [FRA_PRIORITY, rule.priority],
    [FRA_FWMARK, rule.mark],
    [FRA_FWMASK, rule.mask],
    [FRA_SUPPRESS_PREFIXLEN, rule.suppressPrefixLength],
  ];
  for (const [type, value] of numbers) {
    if (value !== undefined) parts.push(attribute(type, u32(value)));
  }
  const names = [[FRA_IIFNAME, rule.inputDevice], [FRA_OIFNAME, rule.outputDevice]] as const;
  for (const [type, name] of names) {
    if (name !== undefined) parts.push(attribute(type, text(name)));
  }
  return parts;
}

/** The body of a request for all rules of a family. */
export function encodeRules(family: 4 | 6): Uint8Array[] {
  const header = new Uint8Array(HEADER_SIZE);
  header[0] = family === 4 ? AF_INET : AF_INET6;
  return [header];
}

/** @param body Of an RTM_NEWRULE. */
export function decodeRule(body: Uint8Array): Rule {
  const attributes = decodeAttributes(body, HEADER_SIZE);
  const prefix = (type: number): string | undefined => {
    const address = attributes.get(type);
    return address && `${addressText(address)}/${body[type]}`;
  };
  const found: Record<string, string | number | undefined> = {
    mark: readU32(attributes.get(FRA_FWMARK)),
    mask: lessThanAll(readU32(attributes.get(FRA_FWMASK))),
    destination: prefix(FRA_DST),
    source: prefix(FRA_SRC),
    inputDevice: readText(attributes.get(FRA_IIFNAME)),
    outputDevice: readText(attributes.get(FRA_OIFNAME)),
    suppressPrefixLength: lessThanAll(readU32(attributes.get(FRA_SUPPRESS_PREFIXLEN))),
  };
  return {
    family: body[0] === AF_INET6 ? 6 : 4,
    table: readU32(attributes.get(FRA_TABLE)) ?? body[4]!,
    priority: readU32(attributes.get(FRA_PRIORITY)) ?? 0,
    not: (viewOf(body).getUint32(8, true) & FIB_RULE_INVERT) !== 0,
    action: body[7]!,
    ...Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined)),
  };
}

function lessThanAll(value: number | undefined): number | undefined {
  return value === ALL_ONES ? undefined : value;
}
