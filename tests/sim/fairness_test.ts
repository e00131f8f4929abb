import assert from "node:assert/strict";
import { DEFAULTS, transfer } from "./transfer.ts";

// One seed here; `deno task sim:table fairness` has the others.
for (const congestion of ["cubic", "newreno"] as const) {
  Deno.test(`64 ${congestion} flows that start within a second share a full link fairly`, () => {
    const rate = 100e6;
    const run = transfer({
      ...DEFAULTS,
      congestion,
      rate,
      // One bandwidth-delay product.
      queue: 833,
      flows: 64,
      startSpreadMs: 1_000,
      bytes: Infinity,
      durationMs: 60_000,
    });
    assert.ok(run.jain >= 0.95, `${run.jain}`);
    assert.ok(8 * run.bytesPerSecond >= 0.9 * rate, `${run.bytesPerSecond}`);
    assert.equal(run.failed, 0);
  });
}
