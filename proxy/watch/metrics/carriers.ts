/**
 * What Prometheus is told of what carries WireGuard where UDP does not get through, and of flows that
 * several peers share.
 *
 * @module
 */

import type { StreamBind, StreamCounters } from "../../bind/stream/mod.ts";
import { type Family, single, snakeCase } from "./family.ts";

/** By the name of a label's value. */
const EVENTS: Readonly<Record<string, keyof StreamCounters>> = {
  accepted: "accepted",
  evicted: "evicted",
  dialled: "dialled",
  dial_failed: "dialFailures",
  lost: "lost",
  silent: "silent",
  stalled: "stalled",
  bad_frames: "badFrames",
};
const DROPS: Readonly<Record<string, keyof StreamCounters>> = {
  full: "droppedFull",
  stale: "droppedStale",
  no_carrier: "droppedNoCarrier",
};

/** A counter for each transport in use, by one more label. */
function counters(
  name: string,
  help: string,
  label: string,
  values: Readonly<Record<string, keyof StreamCounters>>,
): Family {
  return {
    ...{ name, help, type: "counter", labels: ["transport", label] },
    collect(out, { gateway }) {
      for (const { name, counters } of gateway.streams.binds) {
        for (const [value, key] of Object.entries(values)) out.sample(counters[key], name, value);
      }
    },
  };
}

/** Those whose certificate was good, and is no more, are known where certificates are. */
function withExpelled(family: Family): Family {
  return {
    ...family,
    collect(out, source) {
      family.collect(out, source);
      const { streams } = source.gateway;
      for (const { name } of streams.binds) {
        out.sample(streams.refusals(name).expelled, name, "expelled");
      }
    },
  };
}

function gauge(name: string, help: string, value: (bind: StreamBind) => number): Family {
  return {
    ...{ name, help, type: "gauge", labels: ["transport"] },
    collect(out, { gateway }) {
      for (const bind of gateway.streams.binds) out.sample(value(bind), bind.name);
    },
  };
}

export const CARRIER_FAMILIES: readonly Family[] = [
  gauge(
    "wirestack_carriers",
    "Connections in TLS and gRPC that carry WireGuard.",
    (bind) => bind.carriers,
  ),
  gauge(
    "wirestack_carriers_waiting",
    "Fallbacks that could not be connected, or broke, and wait to be tried again.",
    (bind) => bind.waiting,
  ),
  withExpelled(counters(
    "wirestack_carrier_events_total",
    "Carriers by what became of them; dialled again and again are reconnects.",
    "event",
    EVENTS,
  )),
  {
    name: "wirestack_carrier_refusals_total",
    type: "counter",
    help:
      "Those who came and are no carrier, by what was wrong: their certificate, their handshake, " +
      "or that there is no room.",
    labels: ["transport", "reason"],
    collect(out, { gateway: { streams } }) {
      for (const { name, counters } of streams.binds) {
        const { refused, failed } = streams.refusals(name);
        out.sample(refused, name, "certificate");
        out.sample(failed, name, "handshake");
        out.sample(counters.refused, name, "full");
      }
    },
  },
  counters(
    "wirestack_carrier_datagrams_total",
    "Datagrams of WireGuard in carriers.",
    "direction",
    { received: "received", sent: "sent" },
  ),
  counters(
    "wirestack_carrier_bytes_total",
    "Bytes of these datagrams.",
    "direction",
    { received: "receivedBytes", sent: "sentBytes" },
  ),
  counters(
    "wirestack_carrier_drops_total",
    "Datagrams that were not sent: they had to make room for others, waited too long, or have no carrier.",
    "reason",
    DROPS,
  ),
  single(
    {
      name: "wirestack_carrier_memory_bytes",
      type: "gauge",
      help: "What carriers that came in are counted as.",
    },
    ({ gateway }) => gateway.streams.budget.bytes,
  ),
  single(
    {
      name: "wirestack_carrier_memory_limit_bytes",
      type: "gauge",
      help: "The most of it, MaxBufferMemory.",
    },
    ({ gateway }) => gateway.streams.budget.limits.bytes,
  ),
  {
    name: "wirestack_shared_flows_total",
    type: "counter",
    help:
      "Flows to prefixes that several peers have: whose place another took, and that went on by " +
      "another peer.",
    labels: ["event"],
    collect(out, { gateway: { twins } }) {
      for (const [event, count] of Object.entries(twins?.flowCounters ?? {})) {
        out.sample(count, snakeCase(event));
      }
    },
  },
];
