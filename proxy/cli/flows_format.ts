/**
 * The table of `show flows`, and its order.
 *
 * @module
 */

import type { FlowStats } from "../gateway/flow_stats.ts";
import { formatBytes } from "./show_format.ts";
import { lineOf, widthsOf } from "./table.ts";

/** By which figure; the largest comes first, of `age` the oldest, of texts the first. */
export const SORT_KEYS = [
  "age",
  "bytes",
  "dial",
  "idle",
  "packets",
  "peer",
  "protocol",
  "rate",
  "retransmits",
  "rtt",
] as const;
export type SortKey = typeof SORT_KEYS[number];

const FIGURES: Readonly<Record<SortKey, (flow: FlowStats) => number | string>> = {
  age: ({ ageMs }) => ageMs,
  bytes: ({ bytesUp, bytesDown }) => bytesUp + bytesDown,
  dial: ({ dialMs }) => dialMs ?? -1,
  idle: ({ idleMs }) => idleMs,
  packets: ({ packetsUp, packetsDown }) => packetsUp + packetsDown,
  peer: ({ peer }) => peer,
  protocol: ({ protocol }) => protocol,
  rate: ({ rate }) => rate.upLastSecond + rate.downLastSecond,
  retransmits: ({ retransmits }) => retransmits,
  rtt: ({ rttMs }) => rttMs ?? -1,
};

/** Of equals, who began first stays first. */
export function sortFlows(flows: FlowStats[], by: SortKey): void {
  const figure = FIGURES[by];
  flows.sort((one, other) => {
    const [a, b] = [figure(one), figure(other)];
    if (typeof a === "string") return a < b ? -1 : a > b ? 1 : 0;
    return (b as number) - a;
  });
}

const HEAD = [
  "ID",
  "PROTO",
  "PEER",
  "SOURCE",
  "DESTINATION",
  "DIALLED",
  "STATE",
  "UP",
  "DOWN",
  "UP/S",
  "DOWN/S",
  "RTT",
  "TARGET RTT",
  "AGE",
  "RULE",
];
/** Columns of figures, which end in line. */
const FIRST_FIGURE = HEAD.indexOf("UP");
/** Digits of an id that tell it from every other of its gateway. */
const ID_DIGITS = 8;

/** Flows whose text is one piece. */
const PIECE = 1_000;

/** A thousand at a time: the text of all would be hundreds of megabytes. */
export function* inPieces<T>(all: readonly T[]): Iterable<readonly [from: number, piece: T[]]> {
  for (let from = 0; from < all.length; from += PIECE) yield [from, all.slice(from, from + PIECE)];
}

/** As `JSON.stringify(all, null, 2)` has it, in pieces. */
export function* jsonOf<T>(all: readonly T[]): Iterable<string> {
  if (all.length === 0) yield "[]\n";
  for (const [from, piece] of inPieces(all)) {
    const text = JSON.stringify(piece, null, 2);
    const isLast = from + piece.length === all.length;
    yield (from === 0 ? "[" : ",") + text.slice(1, isLast ? undefined : -2) + (isLast ? "\n" : "");
  }
}

/** A line for each flow, and one for their number, in pieces. */
export function* formatFlows(flows: readonly FlowStats[]): Iterable<string> {
  if (flows.length > 0) {
    const widths = widthsOf(HEAD, flows.values().map(rowOf));
    yield lineOf(HEAD, widths, isFigure);
    for (const [, piece] of inPieces(flows)) {
      yield piece.map((flow) => lineOf(rowOf(flow), widths, isFigure)).join("");
    }
  }
  yield `${flows.length} ${flows.length === 1 ? "flow" : "flows"}\n`;
}

function isFigure(column: number): boolean {
  return column >= FIRST_FIGURE;
}

function rowOf(flow: FlowStats): string[] {
  const { destination, dialled, rate, rttMs, rule } = flow;
  return [
    flow.id.slice(0, ID_DIGITS),
    flow.protocol,
    flow.peer,
    flow.source,
    destination,
    dialled === destination ? "=" : dialled ?? "-",
    flow.state,
    formatBytes(flow.bytesUp),
    formatBytes(flow.bytesDown),
    formatBytes(rate.upLastSecond),
    formatBytes(rate.downLastSecond),
    formatRtt(rttMs),
    formatRtt(flow.targetRttMs),
    formatAge(flow.ageMs),
    rule === null ? "-" : `${rule}`,
  ];
}

function formatRtt(ms: number | null): string {
  return ms === null ? "-" : `${ms.toFixed(1)} ms`;
}

/** Two units at most: 42s, 3m12s, 5h07m, 2d04h. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const two = (large: number, small: number, units: string) =>
    `${large}${units[0]}${String(small).padStart(2, "0")}${units[1]}`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return two(minutes, seconds % 60, "ms");
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return two(hours, minutes % 60, "hm");
  return two(Math.floor(hours / 24), hours % 24, "dh");
}
