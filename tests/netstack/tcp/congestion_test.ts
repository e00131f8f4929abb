import assert from "node:assert/strict";
import { NewReno } from "../../../netstack/tcp/congestion.ts";
import { Cubic } from "../../../netstack/tcp/cubic.ts";
import { HyStart } from "../../../netstack/tcp/hystart.ts";
import { RtoEstimator } from "../../../netstack/tcp/rto.ts";
import { DEFAULT_SETTINGS } from "../../../netstack/tcp/settings.ts";

const MSS = 1000;

function path(rtt: number): RtoEstimator {
  const rto = new RtoEstimator({ ...DEFAULT_SETTINGS });
  rto.sample(rtt, 1);
  return rto;
}

/** Acknowledges whole windows, one per round trip, for `seconds`. */
function acknowledge(cubic: Cubic, rtt: number, seconds: number, from: number): number {
  const estimate = path(rtt);
  let now = from;
  for (; now < from + 1000 * seconds; now += rtt) {
    // By segments, as ACKs come.
    for (let left = Math.floor(cubic.window / MSS); left > 0; left--) {
      cubic.acknowledged(MSS, estimate, 0, 0, now);
    }
  }
  return now;
}

Deno.test("CUBIC: a loss leaves 0.7 of the window (RFC 9438 §4.6)", () => {
  const cubic = new Cubic(MSS);
  cubic.setWindow(1000 * MSS);
  cubic.lost(1000 * MSS);
  cubic.recovered();
  assert.equal(cubic.window, 700 * MSS);
});

Deno.test("CUBIC: the window follows W_cubic(t), flat around the last maximum (RFC 9438 §4.2)", () => {
  const cubic = new Cubic(MSS);
  cubic.setWindow(1000 * MSS);
  cubic.lost(1000 * MSS);
  cubic.recovered();
  const k = Math.cbrt((1000 - 700) / 0.4);
  let now = 10_000;
  for (let t = 1; t <= 14; t++) {
    now = acknowledge(cubic, 100, 1, now);
    const curve = 0.4 * (t - k) ** 3 + 1000;
    const window = cubic.window / MSS;
    assert.ok(Math.abs(window - curve) < 0.03 * curve, `${window} after ${t} s, not ${curve}`);
  }
});

Deno.test("CUBIC: a second loss below the maximum gives room to others (RFC 9438 §4.7)", () => {
  const cubic = new Cubic(MSS);
  cubic.setWindow(1000 * MSS);
  cubic.lost(1000 * MSS);
  cubic.recovered();
  cubic.lost(700 * MSS);
  cubic.recovered();
  // The new maximum is 700 · (1 + 0.7) / 2 = 595 and not 700.
  const k = Math.cbrt((595 - 490) / 0.4);
  acknowledge(cubic, 100, k, 10_000);
  const window = cubic.window / MSS;
  assert.ok(Math.abs(window - 595) < 12, `${window}`);
});

Deno.test("CUBIC: with a short round trip it is as fast as Reno (RFC 9438 §4.3)", () => {
  const cubic = new Cubic(MSS);
  cubic.setWindow(40 * MSS);
  cubic.lost(40 * MSS);
  cubic.recovered();
  acknowledge(cubic, 1, 0.1, 10_000);
  // 100 round trips: α = 0.53 up to 40, 1 from there.
  assert.ok(cubic.window > 95 * MSS, `${cubic.window / MSS}`);
});

Deno.test("CUBIC: a timeout starts again with one segment, and an undone one gives all back (RFC 9438 §4.8, §4.9)", () => {
  const cubic = new Cubic(MSS);
  cubic.setWindow(100 * MSS);
  cubic.timedOut(100 * MSS, true);
  assert.deepEqual([cubic.window, cubic.threshold], [MSS, 70 * MSS]);
  cubic.undo();
  assert.equal(cubic.window, 100 * MSS);
});

Deno.test("NewReno: one segment per round trip, half the window after a loss (RFC 5681 §3.1)", () => {
  const reno = new NewReno(MSS);
  reno.setWindow(100 * MSS);
  reno.lost(100 * MSS);
  reno.recovered();
  assert.equal(reno.window, 50 * MSS);
  for (let i = 0; i < 50; i++) reno.acknowledged(MSS, path(100), 0, 0);
  assert.equal(reno.window, 51 * MSS);
});

Deno.test("what is in flight beyond the window does not soften a reduction", () => {
  for (const control of [new NewReno(MSS), new Cubic(MSS)]) {
    control.setWindow(100 * MSS);
    control.lost(200 * MSS);
    assert.ok(control.threshold <= 70 * MSS);
  }
});

/** Rounds of ten ACKs with these round trips. @returns Growth of each round, of 10,000 bytes. */
function rounds(hystart: HyStart, rtts: readonly number[]): number[] {
  return rtts.map((rtt, round) => {
    let growth = 0;
    for (let i = 0; i < 10; i++) {
      const una = (round * 10 + i) * MSS;
      growth += hystart.growth(MSS, rtt, una, (round + 1) * 10 * MSS);
    }
    return growth;
  });
}

Deno.test("HyStart++: a round trip that rises ends slow start after five careful rounds (RFC 9406 §4.2)", () => {
  const hystart = new HyStart();
  const growth = rounds(hystart, [100, 100, 113, 114, 115, 116, 117]);
  assert.deepEqual(growth.slice(0, 2), [10_000, 10_000]);
  assert.ok(growth[2]! < 10_000);
  assert.deepEqual(growth.slice(3), [2_500, 2_500, 2_500, 2_500]);
  assert.ok(!hystart.done);
  hystart.growth(MSS, 118, 80 * MSS, 90 * MSS);
  assert.ok(hystart.done);
});

Deno.test("HyStart++: a rise that was jitter is forgotten, a small one is none (RFC 9406 §4.2)", () => {
  const jitter = new HyStart();
  const growth = rounds(jitter, [100, 113, 101, 101]);
  assert.equal(growth[3], 10_000);
  const small = new HyStart();
  assert.deepEqual(rounds(small, [100, 112, 124]), [10_000, 10_000, 10_000]);
});
