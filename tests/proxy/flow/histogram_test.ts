import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { Histogram, TIME_BOUNDS_MS } from "../../../proxy/flow/histogram.ts";

Deno.test("each time counts in every bucket whose bound it does not exceed, as counting them one by one does", () => {
  fc.assert(fc.property(
    fc.array(fc.oneof(
      fc.double({ min: 0, max: 20_000, noNaN: true }),
      fc.constantFrom(...TIME_BOUNDS_MS),
    )),
    (times) => {
      const subject = new Histogram();
      for (const ms of times) subject.observe(ms);
      const { count, sumMs, buckets } = subject.stats();
      assert.equal(count, times.length);
      assert.equal(sumMs, times.reduce((sum, ms) => sum + ms, 0));
      assert.deepEqual(
        buckets,
        TIME_BOUNDS_MS.map((leMs) => ({ leMs, count: times.filter((ms) => ms <= leMs).length })),
      );
    },
  ));
});
