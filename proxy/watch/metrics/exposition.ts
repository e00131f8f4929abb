/**
 * Prometheus' text format, version 0.0.4: what its servers and `promtool` read.
 *
 * @module
 */

import type { Histogram } from "../../flow/histogram.ts";

export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type MetricType = "counter" | "gauge" | "histogram";

/** What a family of samples is called and means. */
export interface Metric {
  /** With its unit; a counter's ends in `_total`. */
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labels?: readonly string[];
}

/** Writes samples, family by family. */
export class Exposition {
  readonly #lines: string[] = [];
  #metric: Metric | undefined;

  /** The family that the next samples are of. One without samples is not written. */
  family(metric: Metric): void {
    this.#metric = metric;
    this.#isNew = true;
  }

  #isNew = false;

  /** @param values Of the labels, in their order. */
  sample(value: number, ...values: readonly string[]): void {
    this.#write("", value, labelled(this.#metric!, values));
  }

  /** A histogram of milliseconds, written in seconds as the convention has it. */
  times(histogram: Histogram, ...values: readonly string[]): void {
    const pairs = labelled(this.#metric!, values);
    const { bounds, counts, sum, count } = histogram;
    let below = 0;
    bounds.forEach((bound, i) => {
      below += counts[i]!;
      this.#write("_bucket", below, [...pairs, `le="${bound / 1000}"`]);
    });
    this.#write("_bucket", count, [...pairs, 'le="+Inf"']);
    this.#write("_sum", sum / 1000, pairs);
    this.#write("_count", count, pairs);
  }

  text(): string {
    return this.#lines.join("");
  }

  #write(suffix: string, value: number, pairs: readonly string[]): void {
    const { name, type, help } = this.#metric!;
    if (this.#isNew) {
      this.#isNew = false;
      this.#lines.push(`# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`);
    }
    const labels = pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
    this.#lines.push(`${name}${suffix}${labels} ${numberText(value)}\n`);
  }
}

function labelled({ labels = [] }: Metric, values: readonly string[]): string[] {
  return labels.map((label, i) => `${label}="${escapeLabel(values[i]!)}"`);
}

function escapeHelp(text: string): string {
  return text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n");
}

function escapeLabel(text: string): string {
  return /["\\\n]/.test(text)
    ? text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n").replace(/"/g, '\\"')
    : text;
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
