/**
 * Medians of the rounds, as the referee's JSON and as a table for people.
 *
 * @module
 */

import type { Figures, Sample, Scenario } from "./scenarios.ts";
import { GATEWAY_CORE, LOAD_CORE } from "./topology.ts";

/** Below that, the gateway's core was not what limited a run that was meant to fill it. */
const BUSY = 0.9;
/** So much of the gateway's core used by others spoils a run. */
const DISTURBED = 0.15;

/** The subject that others are compared with. */
const YARDSTICK = "newt-netstack2";

/** One subject in one scenario. */
export interface Row {
  readonly scenario: string;
  readonly subject: string;
  readonly figures: Figures;
  /** Of each figure its value in every round, in order; undefined: the round failed. */
  readonly rounds?: Readonly<Partial<Record<keyof Figures, readonly (number | undefined)[]>>>;
  /** Medians of CPU shares; undefined where there was nothing to load. */
  readonly shares?: Shares;
  /** What the figures do not say; why there are none. */
  readonly notes: readonly string[];
}

interface Shares {
  readonly gateway: number;
  readonly gatewayCore: number;
  readonly load: number;
  readonly loadCore: number;
}

/**
 * One row of the rounds of a scenario.
 *
 * @param errors of the rounds without a sample
 * @param remark on the subject
 */
export function summarise(
  scenario: Scenario,
  subject: string,
  samples: readonly (Sample | undefined)[],
  errors: readonly string[],
  remark: string | undefined,
): Row {
  const figures: Figures = {};
  const rounds: Partial<Record<keyof Figures, (number | undefined)[]>> = {};
  for (
    const key of ["mbps", "cpu_s_per_gb", "rss_mb", "p50_us", "p99_us", "per_s", "ms"] as const
  ) {
    const all = samples.map((sample) => sample?.figures[key]);
    const values = all.filter((value) => value !== undefined);
    if (values.length === 0) continue;
    figures[key] = median(values);
    rounds[key] = all;
  }
  const usages = samples.flatMap((sample) => sample?.usage === undefined ? [] : [sample.usage]);
  const shares = usages.length === 0 ? undefined : {
    gateway: median(usages.map(({ gateway }) => gateway)),
    gatewayCore: median(usages.map(({ busy }) => busy[GATEWAY_CORE]!)),
    load: median(usages.map(({ load }) => load)),
    loadCore: median(usages.map(({ busy }) => busy[LOAD_CORE]!)),
  };
  const notes = new Set(
    samples.flatMap((sample) => sample?.note === undefined ? [] : [sample.note]),
  );
  if (remark !== undefined) notes.add(remark);
  if (shares !== undefined && scenario.saturates) {
    if (shares.gatewayCore < BUSY) {
      notes.add(shares.loadCore < BUSY ? "neither core full" : "client-bound");
    }
    if (shares.gatewayCore - shares.gateway > DISTURBED) notes.add("disturbed");
  }
  for (const error of errors) notes.add(`failed: ${error}`);
  return { scenario: scenario.name, subject, figures, rounds, shares, notes: [...notes] };
}

/** The referee's JSON: an array with an object a row, then one for each comparison. */
export function toJson(rows: readonly Row[], comparisons: readonly object[]): string {
  const digits = (value: number | undefined) => Number(value?.toPrecision(5));
  const objects = [
    ...rows.map(({ scenario, subject, figures, rounds, notes }) => ({
      scenario,
      subject,
      ...Object.fromEntries(Object.entries(figures).map(([key, value]) => [key, digits(value)])),
      // NaN, a round that failed, becomes null.
      rounds: Object.fromEntries(
        Object.entries(rounds ?? {}).map(([key, values]) => [key, values.map(digits)]),
      ),
      ...(notes.length > 0 ? { note: notes.join("; ") } : {}),
    })),
    ...comparisons,
  ];
  return `[\n${objects.map((object) => `  ${JSON.stringify(object)}`).join(",\n")}\n]\n`;
}

const COLUMNS: readonly [string, (row: Row) => string][] = [
  ["scenario", ({ scenario }) => scenario],
  ["subject", ({ subject }) => subject],
  ["Mbit/s", ({ figures }) => decimal(figures.mbps, 0)],
  ["CPU-s/GB", ({ figures }) => decimal(figures.cpu_s_per_gb, 2)],
  ["per s", ({ figures }) => decimal(figures.per_s, 0)],
  ["p50 µs", ({ figures }) => decimal(figures.p50_us, 0)],
  ["p99 µs", ({ figures }) => decimal(figures.p99_us, 0)],
  ["RSS MB", ({ figures }) => decimal(figures.rss_mb, 0)],
  ["ms", ({ figures }) => decimal(figures.ms, 0)],
  ["rounds", ({ rounds: r }) => range(r?.per_s ?? r?.mbps ?? r?.ms ?? r?.rss_mb ?? [])],
  ["gateway", ({ shares }) => percent(shares?.gateway)],
  ["core 0", ({ shares }) => percent(shares?.gatewayCore)],
  ["load", ({ shares }) => percent(shares?.load)],
  ["core 1", ({ shares }) => percent(shares?.loadCore)],
  ["notes", ({ notes }) => notes.map((note) => note.slice(0, 100)).join("; ")],
];

/** Every row with all it has, and the ratios to newt's netstack2. */
export function toTable(rows: readonly Row[]): string {
  return [
    ...aligned([
      COLUMNS.map(([title]) => title),
      ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row))),
    ]),
    "",
    "rounds: least and greatest of per s, or else of Mbit/s, ms, RSS.",
    "gateway, load: CPU of the gateway's process tree on core 0, and of the client, the tunnel's",
    "client and the service on core 1. core 0, core 1: busy, whoever with. client-bound: core 0 was",
    "less than 90 % busy because core 1 was full, so that throughput says nothing. neither core full:",
    "windows, losses or waiting were the limit. disturbed: others used core 0.",
    ...ratios(rows),
    "",
  ].join("\n");
}

const RATIOS: readonly [string, keyof Figures][] = [
  ["throughput", "mbps"],
  ["CPU per GB", "cpu_s_per_gb"],
  ["per s", "per_s"],
  ["p50", "p50_us"],
  ["p99", "p99_us"],
  ["RSS", "rss_mb"],
  ["start", "ms"],
];

function ratios(rows: readonly Row[]): string[] {
  const yardsticks = new Map(
    rows.filter(({ subject }) => subject === YARDSTICK).map((row) => [row.scenario, row]),
  );
  const lines = rows.flatMap((row) => {
    const yardstick = yardsticks.get(row.scenario);
    if (yardstick === undefined || row.subject === YARDSTICK) return [];
    const cells = RATIOS.map(([, key]) => {
      const own = row.figures[key], other = yardstick.figures[key];
      return own === undefined || other === undefined ? "" : `${(own / other).toFixed(2)} ×`;
    });
    return [[row.scenario, row.subject, ...cells]];
  });
  if (lines.length === 0) return [];
  const titles = ["scenario", "subject", ...RATIOS.map(([title]) => title)];
  return ["", `Ratios to ${YARDSTICK}:`, "", ...aligned([titles, ...lines])];
}

/** Least and greatest, where there are two. */
function range(values: readonly (number | undefined)[]): string {
  const known = values.filter((value) => value !== undefined);
  if (known.length < 2) return "";
  return `${Math.min(...known).toFixed(0)}–${Math.max(...known).toFixed(0)}`;
}

/** Columns of text; all but the first two and the last are numbers. */
export function aligned(lines: readonly string[][]): string[] {
  const widths = lines[0]!.map((_, column) =>
    Math.max(...lines.map((line) => line[column]!.length))
  );
  return lines.map((line) =>
    line.map((cell, column) => {
      const left = column < 2 || lines[0]![column] === "notes";
      return left ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!);
    }).join("  ").trimEnd()
  );
}

function decimal(value: number | undefined, digits: number): string {
  return value === undefined ? "" : value.toFixed(digits);
}

function percent(share: number | undefined): string {
  return share === undefined ? "" : `${(share * 100).toFixed(0)} %`;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
