/**
 * What binds the values of `[Rule]` to each other, and to the peers.
 *
 * @module
 */

import type { ConfigPath } from "./error.ts";
import type { RuleInput } from "./input.ts";
import type { RuleValues } from "./schema.ts";
import type { ConfigSource } from "./source.ts";
import { suggest } from "./suggest.ts";
import { isSingle, quote } from "./values.ts";

/** Owners of flows that are no peers: how programs of this host get into the tunnel. */
const INBOUND_NAMES: readonly string[] = ["redirect"];

export function checkRules(
  source: ConfigSource,
  rules: readonly (RuleValues | undefined)[],
  peers: readonly ({ readonly name?: string | undefined } | undefined)[],
): void {
  const names = new Map(INBOUND_NAMES.map((name) => [name, name]));
  for (const peer of peers) {
    if (peer?.name !== undefined) names.set(peer.name.toLowerCase(), peer.name);
  }
  rules.forEach((rule, i) => {
    if (rule === undefined) return;
    checkFrom(source, rule, i, names);
    checkRefusal(source, rule, i);
    checkTargets(source, rule, i);
  });
}

function checkFrom(
  source: ConfigSource,
  rule: RuleValues,
  i: number,
  names: ReadonlyMap<string, string>,
): void {
  rule.from.forEach((from, j) => {
    if (typeof from !== "string" || names.has(from.toLowerCase())) return;
    const near = suggest(from, [...names.values()]);
    source.problem(
      ["rules", i, "from", j],
      `no peer is called ${quote(from)}, ` +
        (near === undefined
          ? "expected the Name of a peer or link, or a prefix"
          : `did you mean ${near}?`),
    );
  });
}

const OF_ALLOWED: readonly (keyof RuleInput & keyof RuleValues)[] = [
  "rewrite",
  "rate",
  "flowRate",
  "maxConnections",
  "sendProxyProtocol",
];

/** A rule that refuses has nothing to dial and nothing to limit, and must not depend on a name. */
function checkRefusal(source: ConfigSource, rule: RuleValues, i: number): void {
  const { action } = rule;
  if (action === "allow") return;
  const given: string[] = OF_ALLOWED.filter((field) => rule[field] !== undefined);
  if (rule.warmConnections > 0) given.push("warmConnections");
  for (const field of given) {
    const path = ["rules", i, field];
    const [is, allow] = [action, "allow"].map((value) =>
      source.assigned(["rules", i, "action"], value, path)
    );
    const name = source.called(path, path);
    source.problem(
      path,
      `a rule with ${is} lets nothing through, expected ${allow}, or no ${name}`,
    );
  }
  rule.to.forEach((to, j) => {
    if (typeof to !== "string") return;
    const path = ["rules", i, "to", j];
    const is = source.assigned(["rules", i, "action"], action, path);
    source.problem(
      path,
      `${quote(to)} is a name, and a rule with ${is} would let everything through ` +
        "while it cannot be resolved, expected an address or a prefix",
    );
  });
}

function checkTargets(source: ConfigSource, rule: RuleValues, i: number): void {
  const { rewrite, ports, to, sendProxyProtocol, warmConnections } = rule;
  const target = rewrite?.to;
  /** Another key of the rule, beside the one that the message is about. */
  const name = (field: string, near: ConfigPath) => source.called(["rules", i, field], near);
  if (target !== undefined && typeof target !== "string" && !isSingle(target)) {
    to.forEach((one, j) => {
      if (typeof one === "string" || one.version === target.version) return;
      const path = ["rules", i, "to", j];
      source.problem(
        path,
        `${one} and the ${
          name("rewrite", path)
        } to ${target} differ in family, expected the same ` +
          "(only a single address may differ)",
      );
    });
  }
  const isOnly = (...protocols: string[]) =>
    ports.length > 0 && ports.every(({ protocol }) => protocols.includes(protocol));
  if (rewrite?.port !== undefined && isOnly("icmp")) {
    const path = ["rules", i, "rewrite"];
    const icmp = source.assigned(["rules", i, "ports"], "icmp", path);
    source.problem(path, `has a port, and ${icmp} none, expected none`);
  }
  const header = ["rules", i, "sendProxyProtocol"];
  if (sendProxyProtocol === "v1" && isOnly("udp", "icmp")) {
    source.problem(
      header,
      `v1 is for TCP alone, expected tcp in ${name("ports", header)}, or v2 for udp`,
    );
  } else if (sendProxyProtocol === "v1" && !isOnly("tcp", "icmp")) {
    source.warn(
      header,
      "v1 has no form for UDP: the rule's datagrams go without a header, with v2 each has one",
    );
  } else if (sendProxyProtocol === "v2" && isOnly("icmp")) {
    source.problem(
      header,
      `a ping has no place for it, expected tcp or udp in ${name("ports", header)}`,
    );
  }
  if (warmConnections > 0 && !hasOneTarget(rule)) {
    const path = ["rules", i, "warmConnections"];
    const [rewrite, to, ports] = ["rewrite", "to", "ports"].map((field) => name(field, path));
    source.problem(
      path,
      `no single target to be connected with, expected a ${rewrite} to one address or name, or one ` +
        `such in ${to}, and one port in it or in ${ports}, as tcp/443`,
    );
  }
}

/** Whether all its connections go to one port of one host. */
function hasOneTarget({ rewrite, to, ports }: RuleValues): boolean {
  const target = rewrite?.to ?? (to.length === 1 ? to[0] : undefined);
  if (target === undefined || typeof target !== "string" && !isSingle(target)) return false;
  const tcp = ports.filter(({ protocol }) => protocol === "tcp");
  if (ports.length > 0 && tcp.length === 0) return false;
  return rewrite?.port !== undefined || tcp.length === 1 && tcp[0]!.first === tcp[0]!.last;
}
