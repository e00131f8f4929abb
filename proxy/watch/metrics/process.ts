/**
 * What Prometheus is told of the process, and of what it tells.
 *
 * @module
 */

import process from "node:process";
import { VERSION } from "../../version.ts";
import { type Family, single } from "./family.ts";

export const PROCESS_FAMILIES: readonly Family[] = [
  {
    name: "wirestack_build_info",
    type: "gauge",
    help: "Always 1; the labels say what runs.",
    labels: ["version", "deno", "ffi"],
    collect: (out, { gateway }) =>
      out.sample(1, VERSION, Deno.version.deno, String(gateway.proxy.ffi)),
  },
  single(
    {
      name: "process_start_time_seconds",
      type: "gauge",
      help: "When the gateway was started, in seconds since the Unix epoch.",
    },
    ({ gateway }) => (Date.now() - gateway.uptimeMs) / 1000,
  ),
  single(
    {
      name: "process_cpu_seconds_total",
      type: "counter",
      help: "Processor time of the process, user and system.",
    },
    () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
  ),
  single(
    { name: "process_resident_memory_bytes", type: "gauge", help: "Resident memory." },
    () => Deno.memoryUsage().rss,
  ),
  {
    name: "wirestack_event_loop_delay_seconds",
    type: "histogram",
    help: "How late a timer was that is set twice a second.",
    collect: (out, { loop }) => out.times(loop.delays),
  },
  single(
    { name: "wirestack_engine_turns_total", type: "counter", help: "Turns of the engine." },
    ({ gateway }) => gateway.engine.counters.turns,
  ),
  single(
    {
      name: "wirestack_engine_faults_total",
      type: "counter",
      help: "Defects that a turn of the engine survived. Please report them.",
    },
    ({ gateway }) => gateway.engine.counters.faults,
  ),
  {
    name: "wirestack_access_log_lost_total",
    type: "counter",
    help:
      "Lines of the access log that were lost to a full or slow disk, and refused flows left out of it.",
    labels: ["reason"],
    collect(out, { accessLog }) {
      if (accessLog === undefined) return;
      out.sample(accessLog.lost, "disk");
      out.sample(accessLog.leftOut, "rate");
    },
  },
  single(
    {
      name: "wirestack_status_connections",
      type: "gauge",
      help: "Connections to this server.",
    },
    ({ server }) => server.connections,
  ),
  single(
    {
      name: "wirestack_status_displaced_total",
      type: "counter",
      help: "Connections to this server that were closed to make room for others.",
    },
    ({ server }) => server.displaced,
  ),
];
