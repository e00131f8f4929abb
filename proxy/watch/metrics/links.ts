/**
 * What Prometheus is told of links beside WireGuard.
 *
 * @module
 */

import { type Family, snakeCase } from "./family.ts";

export const LINK_FAMILIES: readonly Family[] = [
  {
    name: "wirestack_link_up",
    type: "gauge",
    help: "Whether a link beside WireGuard has another side.",
    labels: ["link"],
    collect(out, { gateway }) {
      for (const { name, state } of gateway.links.stats()) {
        out.sample(state === "connected" ? 1 : 0, name);
      }
    },
  },
  {
    name: "wirestack_link_packets_total",
    type: "counter",
    help: "Packets of a link: up is from its other side.",
    labels: ["link", "direction"],
    collect(out, { gateway }) {
      for (const { name, packetsIn, packetsOut } of gateway.links.stats()) {
        out.sample(packetsIn, name, "up");
        out.sample(packetsOut, name, "down");
      }
    },
  },
  {
    name: "wirestack_link_bytes_total",
    type: "counter",
    help: "Bytes of these packets.",
    labels: ["link", "direction"],
    collect(out, { gateway }) {
      for (const { name, bytesIn, bytesOut } of gateway.links.stats()) {
        out.sample(bytesIn, name, "up");
        out.sample(bytesOut, name, "down");
      }
    },
  },
  {
    name: "wirestack_link_drops_total",
    type: "counter",
    help: "Packets that a link dropped, by reason.",
    labels: ["link", "reason"],
    collect(out, { gateway }) {
      for (const { name, drops } of gateway.links.stats()) {
        for (const [reason, count] of Object.entries(drops)) {
          out.sample(count, name, snakeCase(reason));
        }
      }
    },
  },
  {
    name: "wirestack_link_nat_mappings",
    type: "gauge",
    help: "Ports that a link's NAT has given to those behind it.",
    labels: ["link"],
    collect(out, { gateway }) {
      for (const { name, nat } of gateway.links.stats()) {
        if (nat !== null) out.sample(nat.mappings, name);
      }
    },
  },
  {
    name: "wirestack_link_nat_sessions",
    type: "gauge",
    help: "Remote ends of these ports.",
    labels: ["link"],
    collect(out, { gateway }) {
      for (const { name, nat } of gateway.links.stats()) {
        if (nat !== null) out.sample(nat.sessions, name);
      }
    },
  },
];
