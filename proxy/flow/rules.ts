/**
 * The rules in force, in order: the first that matches decides.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { FlowRequest } from "./flow.ts";
import { type Rule, type RuleAction, ruleKey, type RuleOptions, RuleState } from "./rule.ts";
import { RuleIndex } from "./rule_index.ts";

export type RewritingRule = Rule & { readonly rewrite: { readonly to: Prefix | string } };

export class RuleSet {
  readonly rules: readonly Rule[];
  /** For what no rule matches. */
  readonly defaultAction: RuleAction;
  /** Those that dial another address. */
  readonly rewriting: readonly RewritingRule[];
  readonly #index: RuleIndex;
  readonly #byState: ReadonlyMap<RuleState, Rule>;
  /** What names stand for, as far as it is known. */
  readonly #addresses = new Map<string, readonly IpAddress[]>();

  /** @param before Rules with the same text keep the state that they have in it, names their addresses. */
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
    this.rewriting = this.rules.filter((rule) => rule.rewrite?.to !== undefined) as RewritingRule[];
    this.#byState = new Map(this.rules.map((rule) => [rule.state, rule]));
    this.#index = new RuleIndex(this.rules);
    if (before === undefined) return;
    for (const name of this.names) {
      const addresses = before.#addresses.get(name);
      if (addresses !== undefined) this.setAddresses(name, addresses);
    }
  }

  /** Names of hosts that rules have in `to`, in small letters. They match once they have addresses. */
  get names(): readonly string[] {
    return this.#index.names;
  }

  /** The addresses that a name of {@link names} stands for from now on. */
  setAddresses(name: string, addresses: readonly IpAddress[]): void {
    this.#addresses.set(name, addresses);
    this.#index.setAddresses(name, addresses);
  }

  /** Whether there is nothing to decide: no rule, and everything is allowed. */
  get isEmpty(): boolean {
    return this.rules.length === 0 && this.defaultAction === "allow";
  }

  /**
   * The first rule that matches.
   *
   * @param held The state of the rule that a live flow was decided by. What its hosts' names stood for
   * then counts still: a flow does not end because one has moved. Whose it is counts as it is now.
   */
  match(request: FlowRequest, held?: RuleState): Rule | undefined {
    const place = this.#index.find(request);
    const found = place < 0 ? undefined : this.rules[place];
    const own = held && this.#byState.get(held);
    if (own === undefined || found !== undefined && found.number <= own.number) return found;
    const hasNames = own.to.some((to) => typeof to === "string");
    return hasNames && this.#index.isFrom(own.number - 1, request) ? own : found;
  }
}
