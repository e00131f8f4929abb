import assert from "node:assert/strict";
import fc from "fast-check";
import { type Deadline, Deadlines } from "../../wireguard/deadlines.ts";

class Item implements Deadline {
  heapIndex = -1;
  heapKey = Infinity;
  at = Infinity;
  fired: number[] = [];

  nextDeadline(): number {
    return this.at;
  }

  handleTimeout(now: number): void {
    this.fired.push(now);
    this.at = Infinity;
  }
}

Deno.test("the heap knows the earliest deadline, and fires exactly what is due, as a list would", () => {
  const operation = fc.tuple(
    fc.constantFrom("set", "set", "set", "clear", "remove", "advance"),
    fc.nat(19),
    fc.nat(100),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const heap = new Deadlines();
      const items = Array.from({ length: 20 }, () => new Item());
      let now = 0;
      for (const [kind, which, amount] of operations) {
        const item = items[which]!;
        if (kind === "set") {
          item.at = now + amount;
          heap.arm(item, item.at);
        } else if (kind === "clear") {
          item.at = Infinity; // the heap is not told
        } else if (kind === "remove") {
          item.at = Infinity;
          heap.remove(item);
        } else {
          now += amount;
          const due = items.filter((one) => one.at <= now);
          items.forEach((one) => one.fired = []);
          heap.handleTimeout(now);
          assert.deepEqual(items.filter((one) => one.fired.length > 0), due);
          assert(due.every((one) => one.fired.length === 1));
        }
        assert.equal(heap.next(), Math.min(...items.map((one) => one.at)));
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("a deadline that moves later costs the heap nothing until its old time has come", () => {
  const heap = new Deadlines();
  const item = new Item();
  item.at = 10;
  heap.arm(item, 10);
  for (let at = 11; at < 1000; at++) {
    item.at = at;
    heap.arm(item, at);
    assert.equal(item.heapKey, 10);
  }
  assert.equal(heap.next(), 999);
  heap.handleTimeout(998);
  assert.deepEqual(item.fired, []);
  heap.handleTimeout(999);
  assert.deepEqual(item.fired, [999]);
  assert.equal(heap.next(), Infinity);
  assert.equal(heap.size, 0);
});
