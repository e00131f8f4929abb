import assert from "node:assert/strict";
import { CarrierBudget } from "../../../../proxy/bind/stream/mod.ts";
import { captureLog } from "../../log/capture.ts";
import { crowd } from "./crowd.ts";
import { Lab, until } from "./tls/lab.ts";

const MEGABYTE = 1 << 20;

for (const transport of ["tls", "grpc"] as const) {
  Deno.test(`of carriers in ${transport} no more stay than there is memory for`, async () => {
    using log = captureLog();
    const budget = new CarrierBudget({ carriers: 1_000, bytes: 8 * MEGABYTE });
    await using lab = await Lab.start({ transport, bind: { budget } });
    await using _crowd = await crowd(lab, 60);
    const { counters } = lab.hub.bind;
    await until(() => counters.refused + counters.evicted > 0);
    assert.ok(budget.bytes <= 8 * MEGABYTE && budget.carriers < 60, `${budget.bytes}`);
    assert.ok(
      log.lines.some((line) => /(?:is refused|had to go), \d+ carriers have \d MB/.test(line)),
    );
    // Somebody else gets in, and it is one of the crowd's that goes.
    const { endpoint } = await lab.client({ name: "somebody else" });
    endpoint.open();
    await until(() => endpoint.state === "open");
    assert.equal(budget.holders, 2);
  });
}
