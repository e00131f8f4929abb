/**
 * What Prometheus is told of what is scarce, and of what was dropped.
 *
 * @module
 */

import { dropsOf } from "../../gateway/drops.ts";
import { gatewayCounters } from "../../gateway/stats_counters.ts";
import { type Family, single, snakeCase } from "./family.ts";

export const LIMIT_FAMILIES: readonly Family[] = [
  {
    name: "wirestack_drops_total",
    type: "counter",
    help: "Packets and requests that were dropped or refused, by layer and reason.",
    labels: ["layer", "reason"],
    collect(out, { gateway }) {
      for (const { group, reason, count } of dropsOf(gatewayCounters(gateway))) {
        out.sample(count, snakeCase(group), snakeCase(reason));
      }
    },
  },
  single(
    { name: "wirestack_buffer_bytes", type: "gauge", help: "Memory that connections hold." },
    ({ gateway }) => gateway.engine.stack.memory.used,
  ),
  single(
    {
      name: "wirestack_buffer_limit_bytes",
      type: "gauge",
      help: "The most of it, MaxBufferMemory.",
    },
    ({ gateway }) => gateway.engine.stack.memory.total,
  ),
  single(
    {
      name: "wirestack_transmit_slots_used",
      type: "gauge",
      help: "Places for packets on their way out that are in use.",
    },
    ({ gateway: { engine: { pool } } }) => pool.slots - pool.free,
  ),
  single(
    { name: "wirestack_transmit_slots", type: "gauge", help: "Such places in all." },
    ({ gateway }) => gateway.engine.pool.slots,
  ),
  {
    name: "wirestack_limited_used",
    type: "gauge",
    help: "How many there are of what is limited in number.",
    labels: ["resource"],
    collect(out, { gateway: { proxy } }) {
      out.sample(proxy.tcp.size, "tcp_connections");
      out.sample(proxy.tcp.dials, "dials");
      out.sample(proxy.udp.size, "udp_sessions");
    },
  },
  {
    name: "wirestack_limited_limit",
    type: "gauge",
    help: "How many there may be.",
    labels: ["resource"],
    collect(out, { gateway: { proxy: { limits } } }) {
      out.sample(limits.maxTcpConnections, "tcp_connections");
      out.sample(limits.maxDials, "dials");
      out.sample(limits.maxUdpSessions, "udp_sessions");
    },
  },
];
