import assert from "node:assert/strict";
import { LEAST_RATE, MOST_RATE, RequestRate } from "../../../proxy/engine/request_rate.ts";

/** A processor of which a share is used, looked at every 10 ms. */
class Processor {
  now = 0;
  used = 0;
  readonly rate = new RequestRate(() => this.used);

  run(ms: number, share: number, lateMs = 0): number {
    let rate = 0;
    for (const end = this.now + ms; this.now < end;) {
      this.now += 10;
      this.used += 10 * share;
      this.rate.noteLateness(lateMs);
      rate = this.rate.at(this.now);
    }
    return rate;
  }
}

Deno.test("a gateway with time to spare holds nobody back, one whose processor is full all but some", () => {
  const processor = new Processor();
  assert.equal(processor.run(100, 0.1), MOST_RATE);
  assert.equal(processor.run(1_000, 0.5), MOST_RATE);
  assert.equal(processor.run(1_000, 1), LEAST_RATE);
  assert.equal(processor.run(10_000, 0.95), LEAST_RATE);
  assert.equal(processor.run(3_000, 0.5), MOST_RATE);
});

Deno.test("in between it stays as it is, and above that it falls slowly", () => {
  const processor = new Processor();
  processor.run(300, 1);
  const before = processor.run(300, 0.6);
  assert.ok(before > LEAST_RATE && before < MOST_RATE, `${before}`);
  assert.equal(processor.run(5_000, 0.6), before);
  const after = processor.run(200, 0.75);
  assert.ok(after < before && after > before / 2, `${after} of ${before}`);
});

Deno.test("a timer that is late is a processor that others have", () => {
  const processor = new Processor();
  assert.equal(processor.run(1_000, 0.1, 20), MOST_RATE);
  assert.equal(processor.run(1_000, 0.1, 21), LEAST_RATE);
  assert.equal(processor.run(3_000, 0.1), MOST_RATE);
});

Deno.test("a rate that nobody asked for meanwhile counts as long as it was not asked for", () => {
  const processor = new Processor();
  processor.run(100, 0.1);
  processor.now += 1_000;
  processor.used += 1_000;
  assert.equal(processor.rate.at(processor.now), LEAST_RATE, "a second of a full processor");
  processor.now += 60_000;
  assert.equal(processor.rate.at(processor.now), MOST_RATE, "a minute of rest");
});

Deno.test("where nobody knows what is used there is never time to spare", () => {
  const rate = new RequestRate(undefined);
  for (let now = 0; now < 10_000; now += 100) assert.equal(rate.at(now), LEAST_RATE);
});
