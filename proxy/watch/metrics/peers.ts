/**
 * What Prometheus is told of peers.
 *
 * @module
 */

import type { Peer } from "../../../wireguard/mod.ts";
import { isConnected } from "../../gateway/stats_peers.ts";
import { peerName } from "../../gateway/peer_name.ts";
import type { Counted } from "./busiest.ts";
import type { Exposition } from "./exposition.ts";
import { type Family, OTHERS, single } from "./family.ts";

export const PEER_FAMILIES: readonly Family[] = [
  single(
    { name: "wirestack_peers", type: "gauge", help: "Peers." },
    ({ gateway }) => count(gateway.machines(), () => true),
  ),
  single(
    {
      name: "wirestack_sessions",
      type: "gauge",
      help: "Peers with keys that packets can be sent with.",
    },
    ({ gateway }) => count(gateway.machines(), (peer) => peer.hasSession),
  ),
  single(
    {
      name: "wirestack_peers_connected",
      type: "gauge",
      help:
        "Peers heard within three minutes, which is as long as a session may last, and not missed since.",
    },
    ({ gateway }) => {
      const now = gateway.engine.now();
      return count(gateway.machines(), (peer) => isConnected(peer, gateway.twins, now));
    },
  ),
  {
    name: "wirestack_handshakes_total",
    type: "counter",
    help: "Handshakes, by how they ended.",
    labels: ["result"],
    collect(out, { gateway: { handshakes } }) {
      for (const [result, value] of Object.entries(handshakes)) out.sample(value, result);
    },
  },
  {
    name: "wirestack_prefix_moves_total",
    type: "counter",
    help:
      "Prefixes that went to another of the peers that speak for them: lost, or back to a preferred one.",
    labels: ["reason"],
    collect(out, { gateway: { twins } }) {
      for (const [reason, value] of Object.entries(twins?.counters ?? {})) {
        out.sample(value, reason);
      }
    },
  },
  {
    name: "wirestack_peer_receive_bytes_total",
    type: "counter",
    help: "Bytes of WireGuard's datagrams from a peer, as wg show counts them.",
    labels: ["peer"],
    collect: (out, { peers }) => byPeer(out, peers, 0),
  },
  {
    name: "wirestack_peer_transmit_bytes_total",
    type: "counter",
    help: "Bytes of WireGuard's datagrams to a peer, as wg show counts them.",
    labels: ["peer"],
    collect: (out, { peers }) => byPeer(out, peers, 1),
  },
  {
    name: "wirestack_peer_last_handshake_timestamp_seconds",
    type: "gauge",
    help:
      "When the last handshake with a peer was complete, in seconds since the Unix epoch; 0 for never.",
    labels: ["peer"],
    collect(out, { peers }) {
      for (const { item } of peers.chosen) out.sample(item.lastHandshake / 1000, peerName(item));
    },
  },
  {
    name: "wirestack_peer_transport_info",
    type: "gauge",
    help: "Always 1; the label says what a peer's datagrams travel by: udp, tls or grpc.",
    labels: ["peer", "transport"],
    collect(out, { gateway, peers }) {
      for (const { item } of peers.chosen) {
        const transport = gateway.peers.paths.transportOf(item);
        if (transport !== undefined) out.sample(1, peerName(item), transport.name);
      }
    },
  },
  {
    name: "wirestack_transport_switches_total",
    type: "counter",
    help: "How often a peer that was reached by something else came to be reached by this.",
    labels: ["transport"],
    collect(out, { gateway }) {
      for (const [name, count] of gateway.peers.paths.switches) out.sample(count, name);
    },
  },
  {
    name: "wirestack_peer_last_heard_timestamp_seconds",
    type: "gauge",
    help:
      "When a peer was last heard, a keepalive counts too, in seconds since the Unix epoch; 0 for never.",
    labels: ["peer"],
    collect(out, { gateway, peers }) {
      const epoch = Date.now() - gateway.engine.now();
      for (const { item } of peers.chosen) {
        out.sample(Math.max(0, epoch + item.lastHeard) / 1000, peerName(item));
      }
    },
  },
  {
    name: "wirestack_peer_flow_bytes_total",
    type: "counter",
    help: "Payload of a peer's flows: up is towards the targets.",
    labels: ["peer", "direction"],
    collect(out, { peers }) {
      for (const { item, values } of peers.chosen) {
        const name = peerName(item);
        out.sample(values[2]!, name, "up");
        out.sample(values[3]!, name, "down");
      }
      if (peers.others === undefined) return;
      out.sample(peers.others[2]!, OTHERS, "up");
      out.sample(peers.others[3]!, OTHERS, "down");
    },
  },
  {
    name: "wirestack_peer_flows",
    type: "gauge",
    help: "Flows of a peer that are under way.",
    labels: ["peer"],
    collect(out, { gateway, peers }) {
      let rest = gateway.proxy.statistics.all.live;
      for (const { item } of peers.chosen) {
        const live = gateway.ownerOf(item).totals?.live ?? 0;
        rest -= live;
        out.sample(live, peerName(item));
      }
      if (peers.others !== undefined) out.sample(Math.max(0, rest), OTHERS);
    },
  },
  {
    name: "wirestack_peer_rate_bytes_per_second",
    type: "gauge",
    help: "How fast the flows of a peer with a RateUp or RateDown are, over the last second.",
    labels: ["peer", "direction"],
    collect(out, { gateway, peers }) {
      for (const { item } of peers.chosen) {
        const { rates, totals } = gateway.ownerOf(item);
        if (rates.up !== undefined) out.sample(totals?.rates?.up ?? 0, peerName(item), "up");
        if (rates.down !== undefined) out.sample(totals?.rates?.down ?? 0, peerName(item), "down");
      }
    },
  },
  {
    name: "wirestack_peer_rate_limit_bytes_per_second",
    type: "gauge",
    help: "RateUp and RateDown of a peer, which count whole packets inside the tunnel.",
    labels: ["peer", "direction"],
    collect(out, { gateway, peers }) {
      for (const { item } of peers.chosen) {
        const { rates: { up, down } } = gateway.ownerOf(item);
        if (up !== undefined) out.sample(up.rate / 8, peerName(item), "up");
        if (down !== undefined) out.sample(down.rate / 8, peerName(item), "down");
      }
    },
  },
];

function byPeer(out: Exposition, { chosen, others }: Counted<Peer>, index: number): void {
  for (const { item, values } of chosen) out.sample(values[index]!, peerName(item));
  if (others !== undefined) out.sample(others[index]!, OTHERS);
}

function count<T>(items: Iterable<T>, isCounted: (item: T) => boolean): number {
  let found = 0;
  for (const item of items) if (isCounted(item)) found++;
  return found;
}
