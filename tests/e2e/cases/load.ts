/** Many connections at once, and what is left of them. */

import assert from "node:assert/strict";
import type { Stats } from "../gateway.ts";
import { eventually, labTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { Site, TARGET } from "../site.ts";

const CONNECTIONS = 1000;
const ROUNDS = 5;
const BYTES = 16_384;

labTest("1,000 concurrent connections, five times over, leave nothing behind", async () => {
  await using site = await Site.start({
    // The target's host takes its time too.
    proxy: ["Subnets = 10.50.0.0/16, fd50::/64", "TcpDialTimeout = 60"],
  });
  let second = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    const result = await site.ask("many", TARGET[4], PORTS.echo, CONNECTIONS, BYTES);
    assert.deepEqual(
      { completed: result.completed, failures: result.failures },
      { completed: CONNECTIONS, failures: {} },
      `round ${round}`,
    );
    await eventually(
      "nothing left",
      async () => leftovers(await site.gateway.stats()).length === 0,
      { intervalMs: 500 },
    );
    if (round === 2) second = await site.gateway.settledBytes();
  }
  // What is kept is never given back; when the rest goes is V8's affair.
  await eventually(
    `as little as the ${second} bytes after the second round`,
    () => site.gateway.residentBytes() < second * 1.1,
    { timeoutMs: 180_000, intervalMs: 500 },
  );
});

/** Names and figures of what ought to be zero when nothing goes on. */
function leftovers(stats: Stats): string[] {
  return Object.entries(stats.resources as Stats).filter(([, count]) => count !== 0)
    .map(([name, count]) => `${name}: ${count}`);
}
