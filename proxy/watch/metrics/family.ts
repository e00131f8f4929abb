/**
 * A family of samples, and what they are taken from.
 *
 * @module
 */

import type { Peer } from "../../../wireguard/mod.ts";
import type { RuleState } from "../../flow/rule.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { LoopDelay } from "../loop_delay.ts";
import type { Counted } from "./busiest.ts";
import type { Exposition, Metric } from "./exposition.ts";

/** What samples are taken from. */
export interface MetricSources {
  readonly gateway: Gateway;
  readonly loop: LoopDelay;
  /** How many peers may have figures of their own. */
  readonly maxPeers: number;
  /** Of the server that is asked. */
  readonly server: { readonly connections: number; readonly displaced: number };
  /** Access log lines that were lost, and flows that were left out; missing without one. */
  readonly accessLog?: { readonly lost: number; readonly leftOut: number } | undefined;
}

/** Sources, and what is made of them once for several families. */
export interface View extends MetricSources {
  readonly peers: Counted<Peer>;
  readonly rules: Counted<RuleState>;
  /** The numbers of the rules that are in force. */
  readonly numbers: ReadonlyMap<RuleState, number>;
}

export interface Family extends Metric {
  collect(out: Exposition, view: View): void;
}

/** The name of those that have no figures of their own. No peer can be called so. */
export const OTHERS = "(others)";

/** A family with one sample, or none where there is no value. */
export function single(metric: Metric, value: (view: View) => number | undefined): Family {
  return {
    ...metric,
    collect(out, view) {
      const sample = value(view);
      if (sample !== undefined) out.sample(sample);
    },
  };
}

/** `badTag` as `bad_tag`. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
