/**
 * What of a flow's figures has been counted, and with whom it counts.
 *
 * @module
 */

import type { NetworkTotals } from "./networks.ts";
import type { Rates } from "./rates.ts";
import type { Totals } from "./totals.ts";

/** Where the network's are among {@link FlowAccount.groups}. */
const NETWORK = 2;

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

  constructor(all: Totals, owner: Totals, rule: Totals | undefined, network: NetworkTotals) {
    this.#groups = rule === undefined ? [all, owner, network] : [all, owner, network, rule];
  }

  /** Where the flow counts. */
  get groups(): readonly Totals[] {
    const { into } = this.#groups[NETWORK] as NetworkTotals;
    if (into !== undefined) this.#groups[NETWORK] = into;
    return this.#groups;
  }
}
