/**
 * What carriers that have come cost a hub in memory, beside what its budget counts: real sockets on
 * loopback, the other ends in a process of their own, and a frame of 64 KiB begun on each.
 *
 *     deno task bench:carriers [--transport tls|grpc] [--count N]
 *
 * @module
 */

import { parseArgs } from "node:util";
import { CarrierBudget } from "../proxy/bind/stream/mod.ts";
import { crowd } from "../tests/proxy/bind/stream/crowd.ts";
import { Lab, until } from "../tests/proxy/bind/stream/tls/lab.ts";

const MEGABYTE = 1 << 20;
/** Bytes of each frame that come. */
const BEGUN = 60_000;

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      count: { type: "string", default: "1000" },
      // One alone: the second would have the memory that the first has left.
      transport: { type: "string", default: "tls" },
    },
  });
  const count = Number(values.count);
  console.log("| transport | carriers | MB more | MB counted |\n| - | - | - | - |");
  const transport = values.transport as "tls" | "grpc";
  const budget = new CarrierBudget();
  await using lab = await Lab.start({
    transport,
    bind: { budget },
    limits: { startsPerSecond: 10_000, startsAtOnce: 1_000 },
  });
  {
    await using _first = await crowd(lab, 20); // what is made once is made
    await until(() => budget.carriers === 20);
  }
  await until(() => budget.carriers === 0);
  const before = Deno.memoryUsage().rss;
  await using _crowd = await crowd(lab, count);
  await until(() => budget.carriers === count && budget.bytes > count * 2 * BEGUN);
  const more = Math.round((Deno.memoryUsage().rss - before) / MEGABYTE);
  const counted = Math.round(budget.bytes / MEGABYTE);
  console.log(`| ${transport} | ${budget.carriers} | ${more} | ${counted} |`);
}
