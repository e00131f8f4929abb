/**
 * What the verdict about one flow costs by itself, in a program of its own:
 *
 *     deno run bench/peers/verdict.ts 10000
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { fileURLToPath } from "node:url";
import { output } from "../../tests/e2e/process.ts";
import { admissionWith, manyRules, requestFor } from "../rules.ts";
import type { Row } from "./report.ts";
import { onGatewayCore } from "./topology.ts";

const COUNTS = [0, 1_000, 10_000];
const REQUESTS = 1_024;
const ROUNDS = 400;
const WARM_UP_ROUNDS = 50;

if (import.meta.main) console.log(JSON.stringify(measure(Number(Deno.args[0]))));

/** The rows of the scenario `verdict`. */
export async function verdictRows(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const count of COUNTS) {
    const command = [
      ...[Deno.execPath(), "run", "--no-prompt", "--allow-all"],
      ...[fileURLToPath(import.meta.url), `${count}`],
    ];
    const { p50, p99 } = JSON.parse(await output(onGatewayCore(command)));
    rows.push({
      scenario: "verdict",
      subject: `wirestack+${count}`,
      figures: { p50_us: p50, p99_us: p99 },
      notes: [`of rounds of ${REQUESTS} verdicts`],
    });
  }
  return rows;
}

/** CPU time for one verdict, µs: of rounds, since the clock is too coarse for one. */
function measure(count: number): { p50: number; p99: number } {
  const admission = admissionWith(manyRules(count));
  const requests = Array.from({ length: REQUESTS }, (_, i) => requestFor(i * 9, i % 4 ? 443 : 80));
  const each: number[] = [];
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    const before = cpuUsage();
    for (const request of requests) admission.decide(request);
    const { user, system } = cpuUsage(before);
    if (round >= 0) each.push((user + system) / REQUESTS);
  }
  each.sort((a, b) => a - b);
  return { p50: each[ROUNDS >> 1]!, p99: each[Math.floor(ROUNDS * 0.99)]! };
}
