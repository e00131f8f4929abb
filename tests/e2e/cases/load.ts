/** Many connections at once, and what is left of them. */

import assert from "node:assert/strict";
import type { Stats } from "../gateway.ts";
import { eventually, labTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { Site, TARGET } from "../site.ts";

const CONNECTIONS = 1000;
const ROUNDS = 10;
/** What V8 keeps at first, and when it collects, is its own affair. */
const MOST_ROUNDS = 25;
const BYTES = 16_384;

labTest("1,000 concurrent connections, ten times over, leave nothing behind", async () => {
  await using site = await Site.start({
    // The target's host takes its time too.
    proxy: ["Subnets = 10.50.0.0/16, fd50::/64", "TcpDialTimeout = 60"],
  });
  const residents: number[] = [];
  for (let round = 1; round <= MOST_ROUNDS; round++) {
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
    residents.push(site.gateway.residentBytes());
    if (round < ROUNDS) continue;
    // Three rounds and three: of five rounds' connections 8 KiB each would be 40 MB.
    const [most, least] = [Math.max(...residents.slice(-8, -5)), Math.min(...residents.slice(-3))];
    if (least < most * 1.1) return;
  }
  assert.fail(`more after each round: ${residents.join(", ")}`);
});

/** Names and figures of what ought to be zero when nothing goes on. */
function leftovers(stats: Stats): string[] {
  return Object.entries(stats.resources as Stats).filter(([, count]) => count !== 0)
    .map(([name, count]) => `${name}: ${count}`);
}
