import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { Busiest } from "../../../../proxy/watch/metrics/busiest.ts";

interface Member {
  readonly name: string;
  bytes: number;
}

const MINUTE = 60_000;

function busiest() {
  return new Busiest<Member>(1, (member, values) => values[0] = member.bytes);
}

Deno.test("with few members each has what it counts itself, and there are no others", () => {
  const all = busiest();
  const members = ["a", "b"].map((name) => ({ name, bytes: 7 }));
  assert.deepEqual(all.count(members, 2, 0), {
    chosen: members.map((item) => ({ item, values: [7] })),
    others: undefined,
  });
  members[0]!.bytes = 10;
  assert.deepEqual(all.count(members, 2, 1).chosen.map(({ values }) => values[0]), [10, 7]);
});

Deno.test("who becomes busiest gets figures of its own that begin at 0, and no counter goes back", () => {
  const all = busiest();
  const [first, later] = [{ name: "first", bytes: 100 }, { name: "later", bytes: 5 }];
  const members = [later, first];
  assert.deepEqual(all.count(members, 1, 0), {
    chosen: [{ item: first, values: [100] }],
    others: [5],
  });
  later.bytes += 1000;
  assert.deepEqual(all.count(members, 1, 1), {
    chosen: [{ item: first, values: [100] }],
    others: [1005],
  });
  later.bytes += 50;
  first.bytes += 1;
  assert.deepEqual(all.count(members, 1, MINUTE), {
    chosen: [{ item: later, values: [50] }],
    others: [1006],
  });
});

Deno.test("one that is only a little busier takes nobody's place", () => {
  const all = busiest();
  const [first, second] = [{ name: "first", bytes: 0 }, { name: "second", bytes: 0 }];
  all.count([first, second], 1, 0);
  first.bytes += 100;
  second.bytes += 190;
  all.count([first, second], 1, 1);
  assert.deepEqual(all.count([first, second], 1, MINUTE).chosen.map(({ item }) => item), [first]);
});

Deno.test("a lower number takes effect at once, and those that are gone are forgotten", () => {
  const all = busiest();
  const members = ["a", "b", "c"].map((name, i) => ({ name, bytes: i }));
  all.count(members, 3, 0);
  assert.equal(all.count(members, 1, 1).chosen.length, 1);
  assert.deepEqual(all.count([], 1, 2), { chosen: [], others: [0] });
});

Deno.test("whatever members do, sums are kept and nothing goes back", () => {
  const step = fc.record({
    member: fc.nat(5),
    bytes: fc.nat(1000),
    wait: fc.constantFrom(1, MINUTE),
    most: fc.nat(6),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const all = busiest();
    const members = Array.from({ length: 6 }, (_, i) => ({ name: `${i}`, bytes: 0 }));
    const own = new Map<Member, number>();
    let [now, total, others, kept] = [0, 0, 0, 0];
    for (const { member, bytes, wait, most } of steps) {
      members[member]!.bytes += bytes;
      total += bytes;
      now += wait;
      const counted = all.count(members, most, now);
      assert.ok(counted.chosen.length <= most);
      const present = new Set(counted.chosen.map(({ item }) => item));
      for (const [item, value] of own) { // given up: what it had is in no series any more
        if (present.has(item)) continue;
        kept += value;
        own.delete(item);
      }
      for (const { item, values } of counted.chosen) {
        assert.ok(values[0]! >= (own.get(item) ?? 0));
        own.set(item, values[0]!);
      }
      assert.ok((counted.others?.[0] ?? 0) >= others);
      others = counted.others?.[0] ?? 0;
      const sum = [...own.values()].reduce((a, b) => a + b, 0);
      assert.equal(sum + others + kept, total);
    }
  }));
});
