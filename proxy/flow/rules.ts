/**
 * The rules in force, in order: the first that matches decides.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { FlowRequest } from "./flow.ts";
import { type Rule, type RuleAction, ruleKey, type RuleOptions, RuleState } from "./rule.ts";

export class RuleSet {
  readonly rules: readonly Rule[];
  /** For what no rule matches. */
  readonly defaultAction: RuleAction;

  /** @param before Rules with the same text keep the state that they have in it. */
  constructor(options: readonly RuleOptions[], defaultAction: RuleAction, before?: RuleSet) {
    this.defaultAction = defaultAction;
    const states = new Map<string, RuleState[]>();
    for (const { state } of before?.rules ?? []) {
      const known = states.get(state.key);
      if (known === undefined) states.set(state.key, [state]);
      else known.push(state);
    }
    this.rules = options.map((rule, i) => {
      const key = ruleKey(rule);
      return { ...rule, number: i + 1, state: states.get(key)?.shift() ?? new RuleState(key) };
    });
  }

  /** The first rule that matches. */
  match(request: FlowRequest): Rule | undefined {
    return this.rules.find((rule) => matches(rule, request));
  }
}

function matches(rule: Rule, request: FlowRequest): boolean {
  const { from, to, ports, rewrite } = rule;
  const { protocol, owner, source, destination, destinationPort } = request;
  if (from.length > 0 && !from.some((one) => isFrom(one, source, owner.name))) return false;
  if (to.length > 0 && !to.some((one) => typeof one !== "string" && one.contains(destination))) {
    return false;
  }
  const isPort = ({ protocol: of, first, last }: Rule["ports"][number]) =>
    of === protocol && (protocol === "icmp" || first <= destinationPort && destinationPort <= last);
  if (ports.length > 0 && !ports.some(isPort)) return false;
  // The host bits of one family have no place in the other.
  const target = rewrite?.to;
  return target === undefined || typeof target === "string" ||
    target.length === target.address.bytes.length * 8 || target.version === destination.version;
}

function isFrom(from: Prefix | string, source: IpAddress, name: string): boolean {
  return typeof from === "string"
    ? from.toLowerCase() === name.toLowerCase()
    : from.contains(source);
}
