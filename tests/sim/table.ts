/**
 * `deno task sim:table`: the stack against its yardsticks, as Markdown. What the columns are and
 * where the targets come from is in `docs/netstack.md`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { pftk } from "./pftk.ts";
import { DEFAULTS, transfer, type TransferOptions, type TransferResult } from "./transfer.ts";

/** Payload of a segment at MTU 1500 with timestamps. */
const MSS = 1448;
const LOSSES = [0, 0.01, 0.05, 0.1, 0.3];
/** smoltcp's tests/snapshots/netsim__netsim.snap, bytes/s, and what multiple of it we promise. */
const SMOLTCP: [buffer: number, bytesPerSecond: number[], promised: number[]][] = [
  [32_768, [322_945, 219_671, 76_627, 37_775, 1_156], [0.98, 1.2, 2.3, 3.7, 20]],
  [4_096, [35_062, 26_937, 14_074, 7_871, 402], [1, 1, 1, 1, 1]],
];
const PFTK_LOSSES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];

const SECTIONS: Record<string, (seeds: number) => void> = {
  smoltcp(seeds) {
    heading("buffer", "loss", "bytes/s", "lowest", "smoltcp", "ratio", "promised", "");
    for (const [buffer, theirs, promised] of SMOLTCP) {
      LOSSES.forEach((loss, i) => {
        const runs = many(seeds, { congestion: "none", buffer, loss });
        const rates = runs.map((run) => run.bytesPerSecond);
        const ratio = median(rates) / theirs[i]!;
        row(
          buffer,
          percent(loss),
          median(rates).toFixed(0),
          Math.min(...rates).toFixed(0),
          theirs[i]!,
          ratio.toFixed(2),
          promised[i]!,
          verdict(ratio >= promised[i]!, runs),
        );
      });
    }
  },

  pftk(seeds) {
    heading("control", "loss", "bytes/s", "model", "ratio", "RTO ms", "timeouts", "spurious", "");
    for (const congestion of ["newreno", "cubic"] as const) {
      for (const loss of PFTK_LOSSES) {
        const runs = many(seeds, { congestion, buffer: 1_000_000, loss });
        const rate = median(runs.map((run) => run.bytesPerSecond));
        const rto = mean(runs.map((run) => run.meanRtoMs));
        const model = MSS * pftk({
          loss,
          roundTrip: 0.1,
          timeout: rto / 1000,
          perAck: 2,
          window: Math.floor(1_000_000 / MSS),
        });
        row(
          congestion,
          percent(loss),
          rate.toFixed(0),
          model.toFixed(0),
          (rate / model).toFixed(2),
          rto.toFixed(0),
          median(runs.map((run) => run.timeouts)),
          median(runs.map((run) => run.spurious)),
          verdict(rate >= model, runs),
        );
      }
    }
  },

  fairness(seeds) {
    heading("control", "flows", "queue", "starts", "Jain", "lowest", "used", "dropped", "");
    const rate = 200e6;
    const product = Math.round(rate * 0.1 / 8 / 1500);
    const short = Math.floor(65_536 / 1500);
    for (const congestion of ["newreno", "cubic"] as const) {
      const options = { congestion, rate, bytes: Infinity, durationMs: 60_000 };
      for (
        const [flows, queue, startSpreadMs, wanted] of [
          [64, product, 1000, 0.95],
          [64, product, 0, 0.95],
          [64, short, 1000, 0],
          [1, short, 0, 0],
        ] as const
      ) {
        // Without loss and with starts at once, nothing is left to chance.
        const runs = many(startSpreadMs === 0 ? 1 : seeds, {
          ...options,
          flows,
          queue,
          startSpreadMs,
        });
        const fair = runs.map((run) => run.jain);
        const used = median(runs.map((run) => 8 * run.bytesPerSecond / rate));
        row(
          congestion,
          flows,
          queue,
          startSpreadMs === 0 ? "at once" : `over ${startSpreadMs / 1000} s`,
          median(fair).toFixed(3),
          Math.min(...fair).toFixed(3),
          percent(used),
          percent(median(runs.map((run) => run.overflowed / run.packets))),
          verdict(median(fair) >= wanted && (wanted === 0 || used >= 0.9), runs),
        );
      }
    }
  },

  fill() {
    heading("a loss at", "second", "bytes/s", "of buffer / RTT", "retransmits", "timeouts", "");
    const buffer = 4_000_000;
    const limit = buffer / 0.1;
    for (const loseAtMs of [Infinity, 5000]) {
      const options = {
        ...DEFAULTS,
        congestion: "cubic",
        buffer,
        rate: 1e9,
        bytes: Infinity,
        loseAtMs,
      } as const;
      let before = 0;
      for (let second = 1; second <= 10; second++) {
        const run = transfer({ ...options, durationMs: 1000 * second });
        const rate = run.bytes - before;
        before = run.bytes;
        if (second < 5 && loseAtMs === Infinity || second < 6 && loseAtMs < Infinity) continue;
        const holds = loseAtMs === Infinity ? rate >= 0.95 * limit : run.retransmits === 1;
        row(
          loseAtMs === Infinity ? "none" : `${loseAtMs / 1000} s`,
          second,
          rate,
          (rate / limit).toFixed(3),
          run.retransmits,
          run.timeouts,
          verdict(holds && run.timeouts === 0, [run]),
        );
        if (loseAtMs === Infinity) break;
      }
    }
  },

  reorder(seeds) {
    heading("control", "buffer", "bytes/s", "in order", "ratio", "spurious", "undone", "");
    for (const congestion of ["none", "newreno", "cubic"] as const) {
      for (const buffer of [32_768, 1_000_000]) {
        const measure = (reorder: number) => {
          const runs = many(seeds, { congestion, buffer, reorder, bytes: 30e6 });
          return { runs, rate: median(runs.map((run) => run.bytesPerSecond)) };
        };
        const straight = measure(0);
        const { runs, rate } = measure(0.03);
        const ratio = rate / straight.rate;
        row(
          congestion,
          buffer,
          rate.toFixed(0),
          straight.rate.toFixed(0),
          ratio.toFixed(3),
          median(runs.map((run) => run.spurious)),
          median(runs.map((run) => run.undone)),
          verdict(ratio >= 0.95, runs),
        );
      }
    }
  },
};

function many(seeds: number, options: Partial<TransferOptions>): TransferResult[] {
  return Array.from(
    { length: seeds },
    (_, i) => transfer({ ...DEFAULTS, ...options, seed: i + 1 }),
  );
}

function verdict(holds: boolean, runs: readonly TransferResult[]): string {
  const failed = runs.filter((run) => run.failed > 0).length;
  return `${holds ? "" : "**missed**"}${failed > 0 ? ` ${failed} failed` : ""}`;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function percent(share: number): string {
  return `${Number((100 * share).toFixed(2))} %`;
}

function heading(...cells: string[]): void {
  row(...cells);
  row(...cells.map(() => "---:"));
}

function row(...cells: (string | number)[]): void {
  console.log(`| ${cells.join(" | ")} |`);
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seeds: { type: "string", default: "20" } },
  });
  const unknown = positionals.find((name) => !(name in SECTIONS));
  const seeds = Number(values.seeds);
  if (unknown !== undefined || !(Number.isInteger(seeds) && seeds > 0)) {
    console.error(`usage: deno task sim:table [--seeds N] [${Object.keys(SECTIONS).join("|")}]...`);
    Deno.exit(2);
  }
  for (const name of positionals.length > 0 ? positionals : Object.keys(SECTIONS)) {
    console.log(`\n### ${name}\n`);
    SECTIONS[name]!(seeds);
  }
}
