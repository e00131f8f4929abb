/**
 * Other people's chains of nftables that drop what is forwarded, as Docker, ufw and firewalld have them:
 * whatever our own chain accepts, they have the last word.
 *
 * @module
 */

import type { Outlets } from "./masquerade_script.ts";
import { type NftFamily, type NftRuleUndo, OWN_PREFIX } from "./step.ts";

export interface ForeignChain {
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  readonly why: "policy drop" | "its last rule";
  /** Nobody but the program that made it can change it. */
  readonly isOwned: boolean;
}

/** What of libnftables' JSON is looked at, libnftables-json(5). */
interface Item {
  readonly table?: { readonly family: string; readonly name: string; readonly flags?: unknown };
  readonly chain?: {
    readonly family: string;
    readonly table: string;
    readonly name: string;
    readonly type?: string;
    readonly hook?: string;
    readonly policy?: string;
  };
  readonly rule?: {
    readonly family: string;
    readonly table: string;
    readonly chain: string;
    readonly expr?: readonly Readonly<Record<string, unknown>>[];
  };
}

type RuleItem = NonNullable<Item["rule"]>;

/**
 * @param json All rules, as `nft -j list ruleset` prints them.
 * @param device One that such a chain may have been opened for already.
 * @throws {SyntaxError} if it is no JSON.
 */
export function closedForwardChains(json: string, device: string): ForeignChain[] {
  const items: readonly Item[] = JSON.parse(json).nftables ?? [];
  const found: ForeignChain[] = [];
  for (const { chain } of items) {
    if (chain?.hook !== "forward" || chain.type !== "filter" || !isFamily(chain.family)) continue;
    if (chain.table.startsWith(OWN_PREFIX)) continue;
    const rules = items.flatMap(({ rule }) =>
      rule?.family === chain.family && rule.table === chain.table && rule.chain === chain.name
        ? [rule]
        : []
    );
    const why = chain.policy === "drop"
      ? "policy drop"
      : isEnd(rules.at(-1))
      ? "its last rule"
      : undefined;
    if (why === undefined || isOpenFor(rules, device)) continue;
    const { family, table, name } = chain;
    found.push({ family, table, chain: name, why, isOwned: isOwned(items, family, table) });
  }
  return found;
}

/** Rules that open a chain for what comes from the tunnel, and for the answers, as nft takes them. */
export function openingRules(
  { family, table, chain }: ForeignChain,
  device: string,
  outlets: Outlets,
): string[] {
  const version = family === "inet" ? undefined : family === "ip" ? 4 : 6;
  const names = version === undefined ? Object.values(outlets) : [outlets[version]!];
  const { comment } = openingUndo({ family, table, chain }, device);
  return [...new Set(names)].flatMap((outlet) => [
    `iifname "${device}" oifname "${outlet}"`,
    `iifname "${outlet}" oifname "${device}" ct state established,related`,
  ]).map((match) => `insert rule ${family} ${table} ${chain} ${match} accept comment "${comment}"`);
}

/** The same for people, as commands. */
export function openingCommands(chain: ForeignChain, device: string, outlets: Outlets): string[] {
  if (chain.isOwned) return [`firewall-cmd --zone=trusted --add-interface=${device}`];
  return openingRules(chain, device, outlets).map((rule) => `nft '${rule}'`);
}

export function openingUndo(
  { family, table, chain }: Pick<ForeignChain, "family" | "table" | "chain">,
  device: string,
): NftRuleUndo {
  return { kind: "nft-rule", family, table, chain, comment: `${OWN_PREFIX}${device}` };
}

function isFamily(family: string): family is NftFamily {
  return family === "inet" || family === "ip" || family === "ip6";
}

/** Whether a rule is about everything, and lets nothing through. */
function isEnd(rule: RuleItem | undefined): boolean {
  const expressions = (rule?.expr ?? []).filter((one) => !("counter" in one) && !("log" in one));
  const [only] = expressions;
  return expressions.length === 1 && ("drop" in only! || "reject" in only!);
}

/** Whether all that comes from the device, and what goes there, is let through by rules about it. */
function isOpenFor(rules: readonly RuleItem[], device: string): boolean {
  return ["iifname", "oifname"].every((key) =>
    rules.some(({ expr = [] }) =>
      expr.some((one) => "accept" in one) && expr.some((one) => {
        const { op, left, right } = Object(one.match);
        return (op === "==" || op === "in") && Object(left).meta?.key === key && right === device;
      })
    )
  );
}

/** Firewalld's table is its own from version 2 on, which JSON of older nft does not tell. */
function isOwned(items: readonly Item[], family: string, name: string): boolean {
  if (name === "firewalld") return true;
  const table = items.find(({ table }) => table?.family === family && table.name === name)?.table;
  return table !== undefined && JSON.stringify(table.flags ?? "").includes("owner");
}
