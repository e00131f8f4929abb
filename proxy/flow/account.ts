/**
 * What of a flow's figures has been counted, and with whom it counts.
 *
 * @module
 */

import type { NetworkTotals } from "./networks.ts";
import type { Rates } from "./rates.ts";
import type { RuleState } from "./rule.ts";
import { Totals } from "./totals.ts";

// Places among the groups.
const NETWORK = 2;
const RULE = 3;

export class FlowAccount {
  // Counted so far.
  bytesUp = 0;
  bytesDown = 0;
  packetsUp = 0;
  packetsDown = 0;
  retransmits = 0;
  outOfOrder = 0;
  /** From the first sample that finds a byte: what is over within a second has none. */
  rates: Rates | undefined = undefined;
  readonly #groups: Totals[];

  constructor(all: Totals, owner: Totals, network: NetworkTotals) {
    this.#groups = [all, owner, network];
  }

  /**
   * Where the flow counts now: another rule may have taken it over.
   *
   * @param state Of its rule.
   */
  groups(state: RuleState | undefined): readonly Totals[] {
    const groups = this.#groups;
    const { into } = groups[NETWORK] as NetworkTotals;
    if (into !== undefined) groups[NETWORK] = into;
    const rule = state === undefined ? undefined : state.totals ??= new Totals();
    const before = groups[RULE];
    if (rule === before) return groups;
    if (before !== undefined) before.live--;
    groups.length = RULE;
    if (rule === undefined) return groups;
    rule.flows++;
    rule.live++;
    groups.push(rule);
    return groups;
  }
}
