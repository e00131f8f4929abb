/**
 * Rules for tests, and what it means that one matches, in plain words.
 *
 * @module
 */

import { parsePrefix } from "../../../proxy/address.ts";
import type { FlowRequest } from "../../../proxy/flow/flow.ts";
import type { PortRange, RuleOptions } from "../../../proxy/flow/rule.ts";
import { Prefix } from "../../../netstack/mod.ts";

/** A rule from what stands in it; prefixes as text. */
export function rule(
  options: Partial<Omit<RuleOptions, "from" | "to">> & {
    from?: readonly string[];
    to?: readonly string[];
  } = {},
): RuleOptions {
  const { from = [], to = [], ...rest } = options;
  const prefixOrName = (text: string) => parsePrefix(text) ?? text;
  return {
    ports: [],
    action: "allow",
    warmConnections: 0,
    ...rest,
    from: from.map(prefixOrName),
    to: to.map(prefixOrName),
  };
}

export const tcp = (first: number, last = first): PortRange => ({ protocol: "tcp", first, last });

/** The plain twin of `RuleIndex`: whether a rule without names in `to` matches. */
export function matches(rule: RuleOptions, request: FlowRequest): boolean {
  const { from, to, ports, rewrite } = rule;
  const { protocol, owner, source, destination, destinationPort } = request;
  const isFrom = from.length === 0 ||
    from.some((one) =>
      typeof one === "string"
        ? one.toLowerCase() === owner.name.toLowerCase()
        : one.contains(source)
    );
  const isTo = to.length === 0 ||
    to.some((one) => typeof one !== "string" && one.contains(destination));
  const isPort = ports.length === 0 ||
    ports.some(({ protocol: of, first, last }) =>
      of === protocol &&
      (of === "icmp" || first <= destinationPort && destinationPort <= last)
    );
  const target = rewrite?.to;
  const isOfOneFamily = target instanceof Prefix && target.length < 8 * target.address.bytes.length;
  return isFrom && isTo && isPort && (!isOfOneFamily || target.version === destination.version);
}
