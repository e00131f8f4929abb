/**
 * The text of `show`: the layout, units and words of `wg show`, and below them the gateway's.
 *
 * @module
 */

import { dropsOf } from "../gateway/drops.ts";
import type { CarrierStats } from "../bind/stream/mod.ts";
import type { DeviceStats, GatewayStats, LinkDropStats, LinkStats } from "../gateway/gateway.ts";
import type { ShownGateway, ShownPeer, ShownTransport } from "./shown.ts";

/** @param now Milliseconds since the Unix epoch. */
export function formatGateway(shown: ShownGateway, now: number): string {
  const head = [
    `interface: ${shown.name}`,
    ...(shown.publicKey ? [`  public key: ${shown.publicKey}`] : []),
    ...(shown.privateKey ? [`  private key: ${shown.privateKey}`] : []),
    ...(shown.listenPort ? [`  listening port: ${shown.listenPort}`] : []),
    ...(shown.fwMark ? [`  fwmark: 0x${shown.fwMark.toString(16)}`] : []),
  ];
  const blocks = [
    head,
    ...shown.peers.map((peer) => peerLines(peer, now)),
    ...(shown.gateway?.device ? [deviceLines(shown.gateway.device)] : []),
    ...(shown.gateway?.links ?? []).map(linkLines),
    ...(shown.gateway ? [gatewayLines(shown.gateway)] : []),
  ];
  return blocks.map((lines) => lines.join("\n") + "\n").join("\n");
}

function peerLines(peer: ShownPeer, now: number): string[] {
  const { receivedBytes, sentBytes, latestHandshake, persistentKeepalive } = peer;
  return [
    `peer: ${peer.publicKey}`,
    ...(peer.name ? [`  name: ${peer.name}`] : []),
    ...(peer.origin === "list" || peer.origin === "enrolled" ? [`  origin: ${peer.origin}`] : []),
    ...(peer.presharedKey ? [`  preshared key: ${peer.presharedKey}`] : []),
    ...(peer.endpoint ? [`  endpoint: ${peer.endpoint}`] : []),
    ...(peer.transport ? [transportLine(peer.transport, now)] : []),
    ...peer.carriers.map(carrierLine),
    `  allowed ips: ${peer.allowedIps.join(", ") || "(none)"}`,
    ...(latestHandshake ? [`  latest handshake: ${formatAgo(latestHandshake, now)}`] : []),
    ...(receivedBytes || sentBytes
      ? [`  transfer: ${formatBytes(receivedBytes)} received, ${formatBytes(sentBytes)} sent`]
      : []),
    ...(persistentKeepalive
      ? [`  persistent keepalive: every ${formatSeconds(persistentKeepalive)}`]
      : []),
  ];
}

function transportLine({ name, endpoint, since, switches }: ShownTransport, now: number): string {
  const times = switches === 1 ? "once" : `${switches} times`;
  return `  transport: ${name}${
    name === "udp" || endpoint === null ? "" : ` (${endpoint})`
  }, since ` +
    `${formatAgo(since, now)}${switches > 0 ? `, changed ${times}` : ""}`;
}

function carrierLine({ endpoint, state, problem, name, ...moved }: CarrierStats): string {
  const { receivedBytes, sentBytes } = moved;
  const isThere = state === "open" && name !== null;
  const more = isThere ? ` to ${name}` : problem === null ? "" : ` (${problem})`;
  return `  carrier: ${endpoint} ${state}${more}, ${formatBytes(receivedBytes)} received, ` +
    `${formatBytes(sentBytes)} sent`;
}

function linkLines(link: LinkStats): string[] {
  const { name, place, state, peer, lastEnd, prefixes, nat } = link;
  return [
    `link: ${name}`,
    ...(place === null ? [] : [`  place: ${place}`]),
    `  state: ${state}${peer === null ? "" : ` with ${peer}`}`,
    ...(lastEnd === null ? [] : [`  last end: ${lastEnd}`]),
    `  prefixes: ${prefixes.join(", ") || "(any that are nowhere else)"}`,
    `  transfer: ${formatBytes(link.bytesIn)} received, ${formatBytes(link.bytesOut)} sent`,
    // A gateway of before an upgrade says nothing of it.
    ...(nat ? [`  nat: ${nat.addresses.join(", ")}, ${nat.mappings} mappings`] : []),
    ...dropLines(link.drops),
  ];
}

function deviceLines({ name, mtu, bytesIn, bytesOut, drops }: DeviceStats): string[] {
  return [
    `device: ${name}`,
    `  mtu: ${mtu}`,
    `  transfer: ${formatBytes(bytesIn)} from this host, ${formatBytes(bytesOut)} to it`,
    ...dropLines(drops),
  ];
}

function dropLines(drops: LinkDropStats): string[] {
  const counted = Object.entries(drops).filter(([, count]) => count > 0)
    .map(([reason, count]) => `${words(reason)} ${count}`);
  return counted.length > 0 ? [`  dropped: ${counted.join(", ")}`] : [];
}

function gatewayLines(stats: GatewayStats): string[] {
  // It runs since before an upgrade, and its figures are others.
  if (stats.flows === undefined) return ["gateway: of another version, whose own show knows it"];
  const { resources, counters, memory, connections } = stats;
  const { tcpRelays, tcpDials, udpSessions, pingSessions } = resources;
  const { bytesUp, bytesDown, rate } = stats.flows.total;
  const rtts = connections.map(({ rttMs }) => rttMs).filter((rtt) => rtt > 0).sort((a, b) => a - b);
  const drops = dropsOf(counters).filter(({ count }) => count > 0).map(
    ({ group, reason, count }) => `${words(group)} ${words(reason)} ${count}`,
  );
  return [
    `gateway: up ${formatSeconds(Math.floor(stats.uptimeMs / 1000)) || "since now"}`,
    `  proxied: ${stats.subnets.map(formatSubnet).join(", ") || "(none)"}`,
    `  connections: ${tcpRelays - tcpDials} open, ${tcpDials} being made, ` +
    `${counters.tcpForwarder.connected + counters.inboundTcp.connected} so far`,
    `  udp sessions: ${udpSessions} open, ` +
    `${counters.udpForwarder.sessions + counters.inboundUdp.sessions} so far`,
    `  pings: ${pingSessions} open, ${counters.icmpForwarder.sessions} so far`,
    `  forwarded: ${formatBytes(bytesUp)} to targets, ${formatBytes(bytesDown)} back`,
    `  rate: ${formatBytes(rate.upLastSecond)}/s to targets, ` +
    `${formatBytes(rate.downLastSecond)}/s back`,
    ...(rtts.length > 0
      ? [`  round trip: ${rtts[rtts.length >> 1]!.toFixed(1)} ms, median of ${rtts.length}`]
      : []),
    `  dropped: ${drops.join(", ") || "(none)"}`,
    `  memory: ${formatBytes(memory.rss)} resident, ${formatBytes(memory.heapUsed)} heap, ` +
    `buffers ${formatBytes(memory.buffers)} of ${formatBytes(memory.maxBuffers)}`,
  ];
}

/** `badTag` as `bad tag`. */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).trim();
}

function formatSubnet({ prefix, ...protocols }: GatewayStats["subnets"][number]): string {
  const proxied = (["tcp", "udp", "icmp"] as const).filter((protocol) => protocols[protocol]);
  return proxied.length === 3 ? prefix : `${prefix} (${proxied.join(", ") || "nothing"} only)`;
}

const UNITS = ["KiB", "MiB", "GiB", "TiB"];

/** As `wg` does: 1.21 KiB. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${value.toFixed(2)} ${UNITS[unit]}`;
}

/** As `wg` does: 1 minute, 3 seconds. Nothing for 0. */
export function formatSeconds(seconds: number): string {
  const parts: string[] = [];
  let left = seconds;
  for (
    const [name, length] of [["year", 31_536_000], ["day", 86_400], ["hour", 3600], [
      "minute",
      60,
    ], ["second", 1]] as const
  ) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) parts.push(`${count} ${name}${count === 1 ? "" : "s"}`);
  }
  return parts.join(", ");
}

/** @param then Seconds since the Unix epoch. @param now Milliseconds. */
export function formatAgo(then: number, now: number): string {
  const seconds = Math.floor(now / 1000) - then;
  if (seconds === 0) return "Now";
  if (seconds < 0) return "(System clock wound backward; connection problems may ensue.)";
  return `${formatSeconds(seconds)} ago`;
}
