/**
 * The table of `peers`, and its order.
 *
 * @module
 */

import type { PeerStats } from "../gateway/gateway.ts";
import { formatAge } from "./flows_format.ts";
import { formatBytes } from "./show_format.ts";
import { lineOf, widthsOf } from "./table.ts";

/** By which figure; the largest comes first, of times the latest, of texts the first. */
export const PEER_SORT_KEYS = [
  "bytes",
  "endpoint",
  "heard",
  "name",
  "origin",
  "rate",
  "since",
  "state",
] as const;
export type PeerSortKey = typeof PEER_SORT_KEYS[number];

const FIGURES: Readonly<Record<PeerSortKey, (peer: PeerStats) => number | string>> = {
  bytes: ({ receivedBytes, sentBytes }) => receivedBytes + sentBytes,
  endpoint: ({ endpoint }) => endpoint ?? "",
  heard: ({ lastHeard }) => lastHeard,
  name: () => 0,
  origin: ({ origin }) => origin,
  rate: ({ rate }) => rate.received + rate.sent,
  since: ({ heardSince }) => heardSince,
  state: ({ state }) => ["connected", "silent", "never"].indexOf(state).toString(),
};
// `client-2` stands before `client-10`.
const byText = new Intl.Collator("en", { numeric: true }).compare;

/** Equals are in the order of their names, behind which are those that have none. */
export function sortPeers(peers: PeerStats[], by: PeerSortKey): void {
  const figure = FIGURES[by];
  peers.sort((one, other) => {
    const [a, b] = [figure(one), figure(other)];
    const order = typeof a === "string" ? byText(a, b as string) : (b as number) - a;
    if (order !== 0) return order;
    if ((one.name === null) !== (other.name === null)) return one.name === null ? 1 : -1;
    return byText(one.name ?? one.publicKey, other.name ?? other.publicKey);
  });
}

const HEAD = [
  "NAME",
  "STATE",
  "VIA",
  "ENDPOINT",
  "SINCE",
  "HEARD",
  "IN/S",
  "OUT/S",
  "IN",
  "OUT",
  "ORIGIN",
  "SUBNETS",
];
/** Columns of figures, which end in line. */
const FIGURES_FROM = HEAD.indexOf("SINCE");
const FIGURES_TO = HEAD.indexOf("ORIGIN");
/** Prefixes that are shown; of more the number. */
const MAX_PREFIXES = 4;

/**
 * A line for each peer, and one for their numbers.
 *
 * @param limit Lines at most.
 * @param now Milliseconds since the Unix epoch.
 */
export function formatPeers(peers: readonly PeerStats[], limit: number, now: number): string {
  const shown = peers.slice(0, limit).map((peer) => rowOf(peer, now));
  const rows = shown.length > 0 ? [HEAD, ...shown] : [];
  const widths = widthsOf(HEAD, shown);
  return rows.map((row) => lineOf(row, widths, isFigure)).join("") +
    summaryOf(peers, shown.length);
}

function summaryOf(peers: readonly PeerStats[], shown: number): string {
  const count = (wanted: PeerStats["state"]) =>
    peers.filter(({ state }) => state === wanted).length;
  const hidden = peers.length - shown;
  const more = hidden > 0 ? `; ${hidden} of them not shown, --limit 0 shows all` : "";
  return `${peers.length} ${peers.length === 1 ? "peer" : "peers"}: ${
    count("connected")
  } connected, ` +
    `${count("silent")} silent, ${count("never")} never heard${more}\n`;
}

function isFigure(column: number): boolean {
  return column >= FIGURES_FROM && column < FIGURES_TO;
}

function rowOf(peer: PeerStats, now: number): string[] {
  const { name, publicKey, state, transport, endpoint, rate } = peer;
  const allowedIps = prefixesOf(peer);
  const age = (then: number) => then === 0 ? "-" : formatAge(Math.max(0, now - then));
  const more = allowedIps.length - MAX_PREFIXES;
  return [
    name ?? publicKey,
    state,
    transport ?? "-",
    endpoint ?? "-",
    state === "connected" ? age(peer.heardSince) : "-",
    age(peer.lastHeard),
    formatBytes(rate.received),
    formatBytes(rate.sent),
    formatBytes(peer.receivedBytes),
    formatBytes(peer.sentBytes),
    peer.origin,
    (allowedIps.slice(0, MAX_PREFIXES).join(", ") || "(none)") +
    (more > 0 ? ` and ${more} more` : ""),
  ];
}

/** With those that others speak for too, which one of them holds at a time. */
function prefixesOf({ allowedIps, sharedPrefixes }: PeerStats): string[] {
  const shared = new Map(sharedPrefixes.map(({ prefix, isHeld }) => [prefix, isHeld]));
  return [
    ...allowedIps.map((prefix) => shared.has(prefix) ? `${prefix} (holds)` : prefix),
    ...sharedPrefixes.filter(({ isHeld }) => !isHeld).map(({ prefix }) => `${prefix} (standby)`),
  ];
}
