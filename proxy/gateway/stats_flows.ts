/**
 * What all flows did, by rule and by network of targets, as plain values.
 *
 * @module
 */

import type { FlowEnd } from "../flow/flow.ts";
import type { HistogramStats } from "../flow/histogram.ts";
import type { NetworkTotals } from "../flow/networks.ts";
import { NO_RATES } from "../flow/rates.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { RuleAction } from "../config/input.ts";
import type { Rule } from "../flow/rule.ts";
import type { FlowStatistics, Reasons } from "../flow/statistics.ts";
import { Totals, type TotalsStats } from "../flow/totals.ts";

/** Flows of one protocol since the start. */
export interface ProtocolStats {
  /** That were let in. */
  readonly begun: number;
  /** By why they ended. A reason that is missing has not occurred. */
  readonly ended: Readonly<Reasons<FlowEnd>>;
  /** By why they were refused. A reason that is missing has not occurred. */
  readonly refused: Readonly<Reasons<Refusal>>;
}

/** What a rule's flows did, since the start, or since what the rule is about has changed. */
export interface RuleStats extends TotalsStats {
  /** Its position in the configuration, from 1. */
  readonly number: number;
  /** What it does. */
  readonly action: RuleAction;
}

/** What the flows to a network of targets did. */
export interface NetworkStats extends TotalsStats {
  /** A /24 or a /64: `192.168.1.0/24`. Null: all that are not listed by themselves, together. */
  readonly prefix: string | null;
}

/** What all flows did since the start: connections, UDP sessions with one target, pings. */
export interface FlowsStats {
  /** All of them together. */
  readonly total: TotalsStats;
  /** Connections. */
  readonly tcp: ProtocolStats;
  /** UDP sessions, each with one target. */
  readonly udp: ProtocolStats;
  /** Pings. */
  readonly icmp: ProtocolStats;
  /** How long targets took to be connected. */
  readonly dialTimes: HistogramStats;
  /** Round trips to the clients: one for each connection when it ends, and each minute before. */
  readonly roundTrips: HistogramStats;
  /** Round trips to the targets, of connections and pings, as often. Of TCP none over Deno's sockets. */
  readonly targetRoundTrips: HistogramStats;
  /** In the order of the configuration. */
  readonly rules: readonly RuleStats[];
  /** By what was dialled: the hundred where most bytes moved, and the rest together. */
  readonly networks: readonly NetworkStats[];
}

/** Networks that are listed by themselves. */
const MAX_NETWORKS = 100;
/** Rules that are listed. */
const MAX_RULES = 1_000;
const NOTHING = new Totals();

/** @param statistics Settled a moment ago. @param now Milliseconds, monotonic. */
export function flowsStats(
  statistics: FlowStatistics,
  rules: readonly Rule[],
  now: number,
): FlowsStats {
  const { all, begun, endings, refusals, dialTimes, roundTrips, targetRoundTrips } = statistics;
  const ofProtocol = (protocol: keyof typeof begun): ProtocolStats => ({
    begun: begun[protocol],
    ended: { ...endings[protocol] },
    refused: { ...refusals[protocol] },
  });
  return {
    total: all.stats(now),
    tcp: ofProtocol("tcp"),
    udp: ofProtocol("udp"),
    icmp: ofProtocol("icmp"),
    dialTimes: dialTimes.stats(),
    roundTrips: roundTrips.stats(),
    targetRoundTrips: targetRoundTrips.stats(),
    rules: rules.slice(0, MAX_RULES).map(({ number, action, state }) => ({
      number,
      action,
      ...(state.totals ?? NOTHING).stats(now),
    })),
    networks: networkStats(statistics, now),
  };
}

function networkStats({ networks }: FlowStatistics, now: number): NetworkStats[] {
  const bytes = ({ bytesUp, bytesDown }: NetworkTotals) => bytesUp + bytesDown;
  const all = [...networks.networks()].sort((a, b) => bytes(b) - bytes(a));
  const listed = all.slice(0, MAX_NETWORKS).map((network) => ({
    prefix: `${network.prefix}`,
    ...network.stats(now),
  }));
  const rest = new Totals();
  rest.add(networks.rest);
  for (const network of all.slice(MAX_NETWORKS)) rest.add(network);
  const rate = [networks.rest, ...all.slice(MAX_NETWORKS)]
    .map(({ rates }) => rates?.stats(now) ?? NO_RATES)
    .reduce((sum, each) => ({
      upLastSecond: sum.upLastSecond + each.upLastSecond,
      downLastSecond: sum.downLastSecond + each.downLastSecond,
      upLastMinute: sum.upLastMinute + each.upLastMinute,
      downLastMinute: sum.downLastMinute + each.downLastMinute,
    }), NO_RATES);
  return rest.flows === 0 ? listed : [...listed, { prefix: null, ...rest.stats(now), rate }];
}
