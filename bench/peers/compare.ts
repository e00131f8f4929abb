/**
 * A checkout of this repository against another one: the rounds as pairs.
 *
 * @module
 */

import type { Pair } from "./options.ts";
import { aligned, median, type Row } from "./report.ts";
import type { Figures } from "./scenarios.ts";

/** So many times what it was before is still no loss: what two runs of one program differ by. */
const LIMIT = 1.03;

/** What a scenario is judged by. Memory and the time to start have limits of their own. */
const DECIDING = "cpu_s_per_gb";

const FIGURES: readonly [keyof Figures, string, digits: number][] = [
  ["cpu_s_per_gb", "CPU-s/GB", 2],
  ["mbps", "Mbit/s", 0],
  ["per_s", "per s", 0],
  ["p50_us", "p50 µs", 0],
  ["p99_us", "p99 µs", 0],
  ["rss_mb", "RSS MB", 0],
  ["ms", "ms", 0],
];

/** One figure of one scenario, before and now. */
export interface Comparison {
  readonly scenario: string;
  readonly figure: keyof Figures;
  readonly subjects: Pair;
  /** Of rounds in which both runs succeeded. */
  readonly pairs: number;
  readonly before: Spread;
  readonly now: Spread;
  /** Within each pair, what is now over what was before. */
  readonly ratio: Spread;
  /** `reported`: it decides nothing. `failed`: no pair at all. */
  readonly verdict: "holds" | "worse" | "failed" | "reported";
}

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly greatest: number;
}

/** Every figure that both subjects of a pair have, and a failure where they have none in common. */
export function compare(rows: readonly Row[], pairs: readonly Pair[]): Comparison[] {
  return pairs.flatMap((pair) => {
    const scenarios = rows.filter(({ subject }) => subject === pair.now);
    return scenarios.flatMap((now) => {
      const before = rows.find(({ scenario, subject }) =>
        scenario === now.scenario && subject === pair.before
      );
      return ofScenario(pair, now, before);
    });
  });
}

function ofScenario(subjects: Pair, now: Row, before: Row | undefined): Comparison[] {
  const { scenario } = now;
  const comparisons: Comparison[] = [];
  for (const [figure] of FIGURES) {
    const both = (now.rounds?.[figure] ?? []).flatMap((value, round) => {
      const other = before?.rounds?.[figure]?.[round];
      return value === undefined || other === undefined ? [] : [[other, value] as const];
    });
    if (both.length === 0) continue;
    const ratio = spread(both.map(([other, value]) => value / other));
    comparisons.push({
      scenario,
      figure,
      subjects,
      pairs: both.length,
      before: spread(both.map(([other]) => other)),
      now: spread(both.map(([, value]) => value)),
      ratio,
      verdict: figure !== DECIDING ? "reported" : ratio.median <= LIMIT ? "holds" : "worse",
    });
  }
  if (comparisons.length === 0) {
    const none = { median: NaN, least: NaN, greatest: NaN };
    const figure = DECIDING;
    const [before, now, ratio] = [none, none, none];
    comparisons.push({
      scenario,
      figure,
      subjects,
      pairs: 0,
      before,
      now,
      ratio,
      verdict: "failed",
    });
  }
  return comparisons;
}

/** Whether a comparison is no reason to reject what is now. */
export function isAcceptable({ verdict }: Comparison): boolean {
  return verdict === "holds" || verdict === "reported";
}

/** The comparisons as a table for people. */
export function toText(comparisons: readonly Comparison[]): string {
  const lines = comparisons.map(
    ({ scenario, figure, subjects, pairs, before, now, ratio, verdict }) => {
      const [, title, digits] = FIGURES.find(([key]) => key === figure)!;
      const cells = [text(before, digits), text(now, digits), text(ratio, 3)];
      return [
        scenario,
        subjects.now,
        title,
        ...cells,
        `${pairs}`,
        verdict === "reported" ? "" : verdict,
      ];
    },
  );
  const titles = ["scenario", "subject", "figure", "before", "now", "now / before", "pairs", ""];
  return [
    "",
    `Medians (least to greatest); what decides is the median of the pairs' ratios, at most ${LIMIT}:`,
    "",
    ...aligned([titles, ...lines]),
    "",
  ].join("\n");
}

function text({ median, least, greatest }: Spread, digits: number): string {
  const [middle, low, high] = [median, least, greatest].map((value) => value.toFixed(digits));
  return `${middle} (${low}–${high})`;
}

function spread(values: readonly number[]): Spread {
  return { median: median(values), least: Math.min(...values), greatest: Math.max(...values) };
}
