/**
 * A rule: which flows it is about, and what becomes of them. Plain values, but for the state that a
 * rule keeps while the gateway runs.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import type { Totals } from "./totals.ts";
import { SharedRates } from "./limits.ts";

/** `reject` says so to the client, by a RST or ICMP; `drop` is silence. */
export type RuleAction = "allow" | "reject" | "drop";

/** Ports of a protocol, both included. 0 to 65535 is all of it; a ping has none. */
export interface PortRange {
  readonly protocol: "tcp" | "udp" | "icmp";
  readonly first: number;
  readonly last: number;
}

/** What is dialled instead of what was asked for. */
export interface Rewrite {
  /**
   * Where to: the destination's host bits are kept in a prefix, a single address has none. A text is a
   * host's name. Missing: the address stays.
   */
  readonly to?: Prefix | string;
  /** Missing: the port stays. */
  readonly port?: number;
}

/** A rule as it is configured. */
export interface RuleOptions {
  /** Prefixes of clients' addresses, or names of owners in any case. None: everybody. */
  readonly from: readonly (Prefix | string)[];
  /** Prefixes of the destination asked for, or names of hosts. None: every one. */
  readonly to: readonly (Prefix | string)[];
  /** Of the destination asked for. None: every protocol and port. */
  readonly ports: readonly PortRange[];
  readonly action: RuleAction;
  readonly rewrite?: Rewrite;
  /** Of all its flows together, bits/s each way. */
  readonly rate?: number;
  /** Of each of its flows, bits/s each way. */
  readonly flowRate?: number;
  readonly maxConnections?: number;
  /** Sent to the target. */
  readonly sendProxyProtocol?: "v1" | "v2";
  /** Kept ready towards the target. */
  readonly warmConnections: number;
}

/** A rule in force. */
export interface Rule extends RuleOptions {
  /** Its position in the configuration, from 1. */
  readonly number: number;
  readonly state: RuleState;
}

/**
 * What a rule keeps while the gateway runs: across a change too, if it is about the same flows and does
 * the same with them. Its limits may be others.
 */
export class RuleState {
  /** Tells rules apart that are not the same, whatever their numbers. */
  readonly key: string;
  /** Live flows. */
  flows = 0;
  /** What its flows did, from the first on. */
  totals: Totals | undefined = undefined;
  /** Of all of them together. */
  readonly rates: SharedRates = new SharedRates();

  constructor(key: string) {
    this.key = key;
  }
}

/** The key of a rule's state: what is written in it, without its place and its limits. */
export function ruleKey(rule: RuleOptions): string {
  const { from, to, ports, action, rewrite, sendProxyProtocol } = rule;
  return JSON.stringify([
    from.map(String),
    to.map(String),
    ports.map(({ protocol, first, last }) => [protocol, first, last]),
    action,
    rewrite && [rewrite.to === undefined ? null : `${rewrite.to}`, rewrite.port],
    sendProxyProtocol,
  ]);
}
