/**
 * What Prometheus is told of the signed list of peers.
 *
 * @module
 */

import type { PeerListStats } from "../../gateway/gateway.ts";
import type { Metric } from "./exposition.ts";
import { type Family, single } from "./family.ts";

export const PEER_LIST_FAMILIES: readonly Family[] = [
  ofList(
    {
      name: "wirestack_peer_list_serial",
      type: "gauge",
      help: "The number of the list of peers that is used; 0 before the first.",
    },
    (list) => list.serial ?? 0,
  ),
  ofList(
    { name: "wirestack_peer_list_peers", type: "gauge", help: "Peers of that list." },
    (list) => list.peers,
  ),
  ofList(
    {
      name: "wirestack_peer_list_read_timestamp_seconds",
      type: "gauge",
      help:
        "When the list was last read, or there was nothing new, in seconds since the Unix epoch; 0 for never.",
    },
    (list) => (list.lastRead ?? 0) / 1000,
  ),
  ofList(
    {
      name: "wirestack_peer_list_expires_timestamp_seconds",
      type: "gauge",
      help: "When the list counts no more, in seconds since the Unix epoch; none if it has no end.",
    },
    (list) => list.notAfter === null ? undefined : list.notAfter / 1000,
  ),
  {
    name: "wirestack_peer_list_refused_total",
    type: "counter",
    help: "Lists of peers that were not taken, by reason; unreachable: there was none.",
    labels: ["reason"],
    collect(out, { gateway }) {
      for (const [reason, count] of Object.entries(gateway.peerList.stats()?.refused ?? {})) {
        out.sample(count, reason);
      }
    },
  },
];

/** A family with one sample, if a list is watched and there is a value. */
function ofList(metric: Metric, value: (list: PeerListStats) => number | undefined): Family {
  return single(metric, ({ gateway }) => {
    const list = gateway.peerList.stats();
    return list && value(list);
  });
}
