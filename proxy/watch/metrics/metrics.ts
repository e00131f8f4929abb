/**
 * What Prometheus is told: every family once, with where its samples come from. `docs/monitoring.md`
 * has the same table, and a test holds the two together.
 *
 * @module
 */

import type { Peer } from "../../../wireguard/mod.ts";
import type { RuleState } from "../../flow/rule.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import { Busiest } from "./busiest.ts";
import { CARRIER_FAMILIES } from "./carriers.ts";
import { ENROLMENT_FAMILIES } from "./enrolment.ts";
import { Exposition } from "./exposition.ts";
import type { Family, MetricSources, View } from "./family.ts";
import { FLOW_FAMILIES } from "./flows.ts";
import { LIMIT_FAMILIES } from "./limits.ts";
import { LINK_FAMILIES } from "./links.ts";
import { PEER_LIST_FAMILIES } from "./peer_list.ts";
import { PEER_FAMILIES } from "./peers.ts";
import { PROCESS_FAMILIES } from "./process.ts";

export const FAMILIES: readonly Family[] = [
  ...PROCESS_FAMILIES,
  ...PEER_FAMILIES,
  ...PEER_LIST_FAMILIES,
  ...ENROLMENT_FAMILIES,
  ...CARRIER_FAMILIES,
  ...LINK_FAMILIES,
  ...FLOW_FAMILIES,
  ...LIMIT_FAMILIES,
];

/** So many rules have figures of their own: the busiest. */
const MAX_RULES = 100;

/** Writes all of it, at whatever pace it is asked for. */
export class Metrics {
  #gateway: Gateway | undefined;
  readonly #peers = new Busiest<Peer>(4, (peer, values) => {
    const totals = this.#gateway?.ownerOf(peer).totals;
    values[0] = peer.receivedBytes;
    values[1] = peer.sentBytes;
    values[2] = totals?.bytesUp ?? 0;
    values[3] = totals?.bytesDown ?? 0;
  });
  readonly #rules = new Busiest<RuleState>(4, ({ totals }, values) => {
    values[0] = totals?.flows ?? 0;
    values[1] = totals?.refused ?? 0;
    values[2] = totals?.bytesUp ?? 0;
    values[3] = totals?.bytesDown ?? 0;
  });

  /**
   * What flows did counts as far as they were settled: see `Gateway.settle`.
   *
   * @param now Milliseconds, monotonic.
   */
  text(sources: MetricSources, now: number): string {
    const { gateway, maxPeers } = sources;
    this.#gateway = gateway;
    const peers = this.#peers.count(gateway.machines(), maxPeers, now);
    const { rules } = gateway.proxy.admission.rules;
    const numbers = new Map(rules.map(({ state, number }) => [state, number]));
    const view: View = {
      ...sources,
      peers,
      numbers,
      rules: this.#rules.count(numbers.keys(), MAX_RULES, now),
    };
    const out = new Exposition();
    for (const family of FAMILIES) {
      out.family(family);
      family.collect(out, view);
    }
    return out.text();
  }
}
