/**
 * What Prometheus is told of flows, and of the rules that let them in.
 *
 * @module
 */

import type { FlowProtocol } from "../../flow/flow.ts";
import type { Exposition } from "./exposition.ts";
import { type Family, OTHERS, single, type View } from "./family.ts";

const PROTOCOLS: readonly FlowProtocol[] = ["tcp", "udp", "icmp"];

export const FLOW_FAMILIES: readonly Family[] = [
  {
    name: "wirestack_rule_flows_total",
    type: "counter",
    help: "Flows that a rule let in, or refused, by the rule's place in the configuration.",
    labels: ["rule", "verdict"],
    collect: (out, view) => byRule(out, view, ["allowed", "refused"], 0),
  },
  {
    name: "wirestack_rule_flow_bytes_total",
    type: "counter",
    help: "Payload of a rule's flows: up is towards the targets.",
    labels: ["rule", "direction"],
    collect: (out, view) => byRule(out, view, ["up", "down"], 2),
  },
  {
    name: "wirestack_flows",
    type: "gauge",
    help: "Connections, UDP sessions with one target, and pings that are under way.",
    labels: ["protocol"],
    collect(out, { gateway: { proxy: { statistics } } }) {
      for (const protocol of PROTOCOLS) {
        out.sample(statistics.begun[protocol] - sum(statistics.endings[protocol]), protocol);
      }
    },
  },
  {
    name: "wirestack_flows_total",
    type: "counter",
    help: "Flows that were asked for, by what was decided: allowed, or why not.",
    labels: ["protocol", "verdict"],
    collect(out, { gateway: { proxy: { statistics } } }) {
      for (const protocol of PROTOCOLS) {
        out.sample(statistics.begun[protocol], protocol, "allowed");
        reasons(out, statistics.refusals[protocol], protocol);
      }
    },
  },
  {
    name: "wirestack_flows_ended_total",
    type: "counter",
    help: "Flows that have ended, by why.",
    labels: ["protocol", "ending"],
    collect(out, { gateway: { proxy: { statistics } } }) {
      for (const protocol of PROTOCOLS) reasons(out, statistics.endings[protocol], protocol);
    },
  },
  {
    name: "wirestack_flow_bytes_total",
    type: "counter",
    help: "Payload of flows: up is towards the targets.",
    labels: ["direction"],
    collect(out, { gateway: { proxy: { statistics: { all } } } }) {
      out.sample(all.bytesUp, "up");
      out.sample(all.bytesDown, "down");
    },
  },
  {
    name: "wirestack_flow_packets_total",
    type: "counter",
    help: "Packets of flows inside the tunnel: up is towards the targets.",
    labels: ["direction"],
    collect(out, { gateway: { proxy: { statistics: { all } } } }) {
      out.sample(all.packetsUp, "up");
      out.sample(all.packetsDown, "down");
    },
  },
  {
    name: "wirestack_dial_duration_seconds",
    type: "histogram",
    help: "How long targets took to be connected.",
    collect: (out, { gateway }) => out.times(gateway.proxy.statistics.dialTimes),
  },
  {
    name: "wirestack_rtt_seconds",
    type: "histogram",
    help:
      "Round trips of TCP to peers: one for each connection when it ends, and each minute before.",
    collect: (out, { gateway }) => out.times(gateway.proxy.statistics.roundTrips),
  },
  {
    name: "wirestack_target_rtt_seconds",
    type: "histogram",
    help:
      "Round trips to targets, of TCP (over FFI) and pings: one for each flow when it ends, and each minute before.",
    collect: (out, { gateway }) => out.times(gateway.proxy.statistics.targetRoundTrips),
  },
  single(
    {
      name: "wirestack_tcp_retransmits_total",
      type: "counter",
      help: "TCP segments towards peers that were sent again.",
    },
    ({ gateway }) => gateway.engine.stack.counters.tcp.retransmits,
  ),
  single(
    {
      name: "wirestack_tcp_out_of_order_total",
      type: "counter",
      help: "TCP segments of peers that came before those in front of them.",
    },
    ({ gateway }) => gateway.proxy.statistics.all.outOfOrder,
  ),
];

function byRule(
  out: Exposition,
  { rules: { chosen, others }, numbers }: View,
  kinds: readonly [string, string],
  first: 0 | 2,
): void {
  const both = (values: readonly number[], rule: string) =>
    kinds.forEach((kind, i) => out.sample(values[first + i]!, rule, kind));
  for (const { item, values } of chosen) both(values, String(numbers.get(item)));
  if (others !== undefined) both(others, OTHERS);
}

function reasons(out: Exposition, counts: Readonly<Record<string, number>>, protocol: string) {
  for (const [reason, count] of Object.entries(counts)) out.sample(count, protocol, reason);
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}
