/**
 * Many seeds of the TCP property: `deno task test:seeds [--seeds N] [--first N]`. Ends with status 1
 * if one of them fails, and names it.
 *
 * @module
 */

import { Command, InvalidArgumentError } from "npm:commander@15.1.0";
import { checkTcpProperty } from "./tcp_property.ts";

const TEST = "tests/sim/tcp_property_test.ts";

function run({ seeds, first }: { seeds: number; first: number }): void {
  const start = performance.now();
  const ends: Record<string, number> = {};
  let bytes = 0;
  let failures = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      const outcome = checkTcpProperty(seed);
      for (const end of outcome.ends) ends[end] = (ends[end] ?? 0) + 1;
      bytes += outcome.bytes;
    } catch (error) {
      failures++;
      console.log(`SEED=${seed} deno task test ${TEST}`);
      console.log(error instanceof Error ? error.stack : error);
    }
  }
  const seconds = ((performance.now() - start) / 1_000).toFixed(1);
  const megabytes = (bytes / 1e6).toFixed(0);
  console.log(
    `${seeds} seeds from ${first} in ${seconds} s: ${failures} failed; ${megabytes} MB delivered; ` +
      `ends: ${Object.entries(ends).map(([end, count]) => `${count} ${end}`).join(", ")}`,
  );
  if (failures > 0) Deno.exitCode = 1;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError("expected a whole number above 0");
  }
  return value;
}

new Command("test:seeds")
  // It would ask the environment, for which there is no permission.
  .configureOutput({ getOutHasColors: () => false, getErrHasColors: () => false })
  .description("Random applications over a random network, seed by seed.")
  .option("--seeds <n>", "how many", count, 10_000)
  .option("--first <n>", "the first of them", count, 1)
  .action(run)
  .parse(Deno.args, { from: "user" });
