/**
 * `deno task docs:tables`: brings the tables of metrics (docs/monitoring.md) and of log events
 * (docs/logging.md) up to what the sources have.
 *
 * @module
 */

import { EVENTS } from "../proxy/log/events.ts";
import { FAMILIES } from "../proxy/watch/metrics/metrics.ts";

type Row = readonly string[];

/** A table of a document, between `<!-- name -->` and `<!-- /name -->`. */
interface Table {
  readonly document: URL;
  readonly name: string;
  readonly head: Row;
  readonly rows: readonly Row[];
}

const code = (text: string) => `\`${text}\``;

export const TABLES: readonly Table[] = [
  {
    document: new URL("../docs/monitoring.md", import.meta.url),
    name: "metrics",
    head: ["name", "type", "labels", "meaning"],
    rows: FAMILIES.map(({ name, type, labels = [], help }) => [
      ...[code(name), type, labels.map(code).join(", "), help.replace(/\.$/, "")],
    ]),
  },
  {
    document: new URL("../docs/logging.md", import.meta.url),
    name: "events",
    head: ["event", "logger", "level", "fields", "message"],
    rows: EVENTS.map(({ name, logger, level, fields, message }) => {
      const typed = Object.entries(fields).map(([field, type]) => `${code(field)} ${type}`);
      return [code(name), logger, level, typed.join(", "), message.replaceAll("|", "\\|")];
    }),
  },
];

/** The rows that the document has now. */
export async function rowsOf({ document, name }: Table): Promise<string[][]> {
  const text = await Deno.readTextFile(document);
  const table = text.split(`<!-- ${name} -->`)[1]?.split(`<!-- /${name} -->`)[0] ?? "";
  return table.trim().split("\n").slice(2)
    .map((row) => row.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
}

async function write({ document, name, head, rows }: Table): Promise<void> {
  const text = await Deno.readTextFile(document);
  const lines = [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`);
  const [before, rest] = text.split(`<!-- ${name} -->`);
  const after = rest!.split(`<!-- /${name} -->`)[1];
  await Deno.writeTextFile(
    document,
    `${before}<!-- ${name} -->\n\n${lines.join("\n")}\n\n<!-- /${name} -->${after}`,
  );
}

if (import.meta.main) { for (const table of TABLES) await write(table); }
