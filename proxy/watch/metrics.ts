/**
 * What Prometheus is told: every family once, with where its samples come from. `docs/monitoring.md`
 * has the same table, and a test holds the two together.
 *
 * @module
 */

import process from "node:process";
import type { Peer } from "../../wireguard/mod.ts";
import type { FlowProtocol } from "../flow/flow.ts";
import type { RuleState } from "../flow/rule.ts";
import type { Gateway, PeerListStats } from "../gateway/gateway.ts";
import { dropsOf } from "../gateway/drops.ts";
import { peerName } from "../gateway/peer_name.ts";
import { gatewayCounters } from "../gateway/stats_counters.ts";
import { VERSION } from "../version.ts";
import { Busiest, type Counted } from "./busiest.ts";
import { Exposition, type Metric } from "./exposition.ts";
import type { LoopDelay } from "./loop_delay.ts";

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
interface View extends MetricSources {
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

/** So many rules have figures of their own: the busiest. */
const MAX_RULES = 100;

const PROTOCOLS: readonly FlowProtocol[] = ["tcp", "udp", "icmp"];

/** A family with one sample. */
function single(metric: Metric, value: (view: View) => number): Family {
  return { ...metric, collect: (out, view) => out.sample(value(view)) };
}

/** The same of the list of peers, if one is watched, and if there is a value. */
function ofList(metric: Metric, value: (list: PeerListStats) => number | undefined): Family {
  return {
    ...metric,
    collect(out, { gateway }) {
      const list = gateway.peerList?.stats();
      const sample = list && value(list);
      if (sample !== undefined) out.sample(sample);
    },
  };
}

export const FAMILIES: readonly Family[] = [
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

  single(
    { name: "wirestack_peers", type: "gauge", help: "Peers." },
    ({ gateway }) => count(gateway.engine.device.peers(), () => true),
  ),
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
      for (const [reason, count] of Object.entries(gateway.peerList?.stats().refused ?? {})) {
        out.sample(count, reason);
      }
    },
  },
  single(
    {
      name: "wirestack_sessions",
      type: "gauge",
      help: "Peers with keys that packets can be sent with.",
    },
    ({ gateway }) => count(gateway.engine.device.peers(), (peer) => peer.hasSession),
  ),
  single(
    {
      name: "wirestack_peers_connected",
      type: "gauge",
      help: "Peers heard within three minutes, which is as long as a session may last.",
    },
    ({ gateway: { engine } }) => {
      const now = engine.now();
      return count(engine.device.peers(), (peer) => peer.isHeard(now));
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

  /** @param now Milliseconds, monotonic. */
  text(sources: MetricSources, now: number): string {
    const { gateway, maxPeers } = sources;
    this.#gateway = gateway;
    gateway.proxy.statistics.settle();
    const peers = this.#peers.count(gateway.engine.device.peers(), maxPeers, now);
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

function byPeer(out: Exposition, { chosen, others }: Counted<Peer>, index: number): void {
  for (const { item, values } of chosen) out.sample(values[index]!, peerName(item));
  if (others !== undefined) out.sample(others[index]!, OTHERS);
}

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

function count<T>(items: Iterable<T>, isCounted: (item: T) => boolean): number {
  let found = 0;
  for (const item of items) if (isCounted(item)) found++;
  return found;
}

/** `badTag` as `bad_tag`. */
function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
