import assert from "node:assert/strict";
import { Deadlines, type Timed } from "../../netstack/deadlines.ts";
import { Random } from "../sim/random.ts";
import { forSeeds } from "../sim/seeds.ts";

class Item implements Timed {
  deadline = Infinity;
  heapIndex = -1;
}

Deno.test("deadlines equal their plain twin under random setting, moving, removing and expiry", () => {
  forSeeds(200, (seed) => {
    const random = new Random(seed);
    const deadlines = new Deadlines<Item>();
    const items = Array.from({ length: 30 }, () => new Item());
    const plain = new Map<Item, number>();
    let now = 0;
    for (let step = 0; step < 400; step++) {
      const item = items[random.below(items.length)]!;
      const choice = random.next();
      if (choice < 0.6) {
        const at = now + random.below(100);
        deadlines.set(item, at);
        plain.set(item, at);
      } else if (choice < 0.7) {
        deadlines.set(item, Infinity);
        plain.delete(item);
      } else if (choice < 0.8) {
        deadlines.remove(item);
        plain.delete(item);
      } else {
        now += random.below(20);
        for (;;) {
          const due = deadlines.popDue(now);
          if (due === undefined) break;
          const at = plain.get(due)!;
          assert.ok(at <= now);
          assert.equal(at, Math.min(...plain.values()), "not the earliest");
          plain.delete(due);
          assert.equal(due.deadline, Infinity);
          assert.equal(due.heapIndex, -1);
        }
      }
      assert.equal(deadlines.next(), Math.min(Infinity, ...plain.values()));
      assert.equal(deadlines.size, plain.size);
    }
  });
});

Deno.test("what has no deadline is never due, and removing it does no harm", () => {
  const deadlines = new Deadlines<Item>();
  const item = new Item();
  deadlines.remove(item);
  deadlines.set(item, Infinity);
  assert.equal(deadlines.next(), Infinity);
  assert.equal(deadlines.popDue(1e15), undefined);
});
