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
  await using site = await Site.start();
  const resident: number[] = [];
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
      {
        timeoutMs: 20_000,
        intervalMs: 500,
      },
    );
    if (round === 2 || round === ROUNDS) resident.push(await site.gateway.settledBytes());
  }
  const [second, last] = resident;
  assert.ok(
    last! < second! * 1.1,
    `resident bytes after the second and the last round: ${resident}`,
  );
});

/** Names and figures of what ought to be zero when nothing goes on. */
function leftovers(stats: Stats): string[] {
  return Object.entries(stats.resources as Stats).filter(([, count]) => count !== 0)
    .map(([name, count]) => `${name}: ${count}`);
}
