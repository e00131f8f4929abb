import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { Rates } from "../../../proxy/flow/rates.ts";

Deno.test("what moves evenly has that rate over a second and over a minute, however long it has moved", () => {
  for (const seconds of [1, 5, 30, 59, 61, 75, 600]) {
    const subject = new Rates(1_000);
    for (let i = 1; i <= seconds; i++) {
      subject.sample(1_000 + 1_000 * i, 1_000 * i, 500 * i, 20_000 * i);
    }
    assert.deepEqual(subject.stats(1_000 + 1_000 * seconds), {
      upLastSecond: 500,
      downLastSecond: 20_000,
      upLastMinute: 500,
      downLastMinute: 20_000,
    }, `after ${seconds} s`);
  }
});

Deno.test("what has rested is not averaged over its rest when it moves again", () => {
  const subject = new Rates(0);
  subject.sample(1_000, 0, 1_000, 0);
  subject.sample(2_000, 1_000, 1_000, 0);
  assert.equal(subject.isMoving, false);
  // The samples of five minutes are left out.
  subject.sample(301_000, 300_000, 4_000, 0);
  assert.equal(subject.stats(301_000).upLastSecond, 3_000);
  assert.equal(subject.stats(301_000).upLastMinute, 50);
  subject.sample(302_000, 301_000, 4_000, 0);
  assert.equal(subject.stats(302_000).upLastSecond, 0);
  assert.equal(subject.stats(400_000).upLastMinute, 0, "more than a minute ago");
});

Deno.test("the rate of a minute is what moved in it, give or take the ten seconds that one sample stands for", () => {
  const moves = fc.array(fc.nat(1_000_000), { minLength: 1, maxLength: 200 });
  fc.assert(fc.property(moves, (amounts) => {
    const subject = new Rates(0);
    const totals = [0];
    amounts.forEach((amount, i) => {
      totals.push(totals[i]! + amount);
      // As the statistics do: what does not move is left out.
      if (amount > 0 || subject.isMoving) {
        subject.sample(1_000 * (i + 1), 1_000 * i, totals[i + 1]!, 0);
      }
    });
    const end = amounts.length;
    const since = (seconds: number) => totals[end]! - totals[Math.max(0, end - seconds)]!;
    const { upLastSecond, upLastMinute } = subject.stats(1_000 * end);
    assert.equal(upLastSecond, amounts[end - 1]);
    const moved = upLastMinute * Math.min(60, end);
    const rounding = 0.5 * 60;
    assert.ok(moved <= since(70) + rounding, `${moved} of ${since(70)}`);
    assert.ok(moved >= since(50) - rounding, `${moved} of ${since(50)}`);
  }));
});
