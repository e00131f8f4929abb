import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import {
  type BudgetedCarrier,
  CarrierBudget,
  type CarrierPlace,
  IDLE_MS,
} from "../../../../proxy/bind/stream/carrier_budget.ts";
import { settle } from "./memory_carrier.ts";

class Fake implements BudgetedCarrier {
  usedAt: number;
  isEvicted = false;
  place: CarrierPlace | undefined;

  constructor(usedAt: number) {
    this.usedAt = usedAt;
  }

  evict(): void {
    this.isEvicted = true;
    this.place!.give(); // as its end does
  }
}

/** One more of somebody's. */
function open(budget: CarrierBudget, holder: string, bytes = 100, now = 0): Fake {
  const fake = new Fake(now);
  fake.place = budget.take(holder, bytes, fake, now);
  return fake;
}

Deno.test("somebody alone may have all carriers there may be, and a second one gets half, the idlest first", () => {
  const budget = new CarrierBudget({ carriers: 10, bytes: Infinity });
  const first = Array.from({ length: 10 }, (_, i) => open(budget, "a", 100, i));
  assert.ok(first.every(({ place }) => place !== undefined));
  first[0]!.usedAt = 50; // it has carried something since
  const second = Array.from({ length: 6 }, () => open(budget, "b", 100, 60));
  assert.deepEqual(second.map(({ place }) => place !== undefined), [...Array(5).fill(true), false]);
  assert.deepEqual(
    first.map(({ isEvicted }) => isEvicted),
    [false, ...Array(5).fill(true), ...Array(4).fill(false)],
  );
  assert.equal(budget.carriers, 10);
});

Deno.test("who is above its share has another only in place of one that is idle", () => {
  const budget = new CarrierBudget({ carriers: 2, bytes: Infinity });
  const [first] = [open(budget, "a", 1, 0), open(budget, "a", 1, 10)];
  assert.equal(open(budget, "a", 1, IDLE_MS - 1).place, undefined);
  assert.ok(open(budget, "a", 1, IDLE_MS).place);
  assert.equal(first.isEvicted, true);
});

Deno.test("bytes are shared as carriers are: who holds most gives way", () => {
  const budget = new CarrierBudget({ carriers: 100, bytes: 1_000 });
  const large = [open(budget, "a", 400, 1), open(budget, "a", 400, 2)];
  open(budget, "b", 150, 0);
  assert.ok(open(budget, "c", 150, 3).place);
  assert.deepEqual(large.map(({ isEvicted }) => isEvicted), [true, false]);
  assert.equal(budget.bytes, 700);
});

Deno.test("what grows beyond the bytes there may be costs the holder of most its idlest, when its turn comes", async () => {
  const budget = new CarrierBudget({ carriers: 100, bytes: 1_000 });
  const a = [open(budget, "a", 100, 1), open(budget, "a", 100, 2)];
  const b = open(budget, "b", 100, 0);
  a[1]!.place!.hold(800);
  assert.ok(!a[0]!.isEvicted);
  await settle();
  assert.deepEqual([a[0]!, a[1]!, b].map(({ isEvicted }) => isEvicted), [true, false, false]);
  assert.equal(budget.bytes, 1_000);
});

Deno.test("queues are shorter for who is above its share when little is left", () => {
  const budget = new CarrierBudget({ carriers: 100, bytes: 1 << 20 });
  const a = open(budget, "a", 0);
  const b = open(budget, "b", 0);
  a.place!.hold(700 << 10);
  assert.equal(a.place!.queueLimit, Infinity);
  b.place!.hold(100 << 10);
  assert.deepEqual([a.place!.queueLimit, b.place!.queueLimit], [384 << 10, Infinity]);
});

Deno.test("whatever comes, holds more and goes, no more is had than there may be, and nothing is forgotten", async () => {
  const step = fc.record({
    holder: fc.constantFrom("a", "b", "c"),
    what: fc.constantFrom("open", "hold", "give"),
    bytes: fc.nat(500),
    index: fc.nat(50),
  });
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
    const budget = new CarrierBudget({ carriers: 8, bytes: 1_000 });
    const held = new Map<Fake, number>();
    let now = 0;
    for (const { holder, what, bytes, index } of steps) {
      now += 5_000;
      const there = [...held.keys()].filter(({ isEvicted }) => !isEvicted);
      const one = there[index % Math.max(1, there.length)];
      if (what === "open") {
        const fake = open(budget, holder, bytes, now);
        if (fake.place !== undefined) held.set(fake, bytes);
      } else if (one !== undefined && what === "hold") {
        one.place!.hold(bytes);
        held.set(one, one.place!.rest + bytes);
      } else if (one !== undefined) {
        one.place!.give();
        held.delete(one);
      }
      await settle();
      for (const fake of [...held.keys()]) if (fake.isEvicted) held.delete(fake);
      const sum = [...held.values()].reduce((a, b) => a + b, 0);
      assert.deepEqual([budget.carriers, budget.bytes], [held.size, sum]);
      assert.ok(budget.carriers <= 8 && budget.bytes <= 1_000);
    }
    for (const fake of held.keys()) fake.place!.give();
    assert.deepEqual([budget.carriers, budget.bytes, budget.holders], [0, 0, 0]);
  }));
});
