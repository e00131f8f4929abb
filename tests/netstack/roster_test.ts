import assert from "node:assert/strict";
import { Roster } from "../../netstack/roster.ts";
import { survivors } from "../survivors.ts";

class Item {
  place = -1;
  readonly payload = new Array(125).fill(0); // 1 KB

  constructor(readonly number: number) {}
}

Deno.test("a roster has what a set has, under random changes", () => {
  const roster = new Roster<Item, "place">("place");
  const twin = new Set<Item>();
  const items = Array.from({ length: 50 }, (_, number) => new Item(number));
  let random = 1;
  for (let i = 0; i < 20_000; i++) {
    random = Math.imul(random, 1103515245) + 12345 | 0;
    const item = items[(random >>> 16) % items.length]!;
    if (twin.has(item)) {
      twin.delete(item);
      roster.delete(item);
      roster.delete(item); // harmless
    } else {
      twin.add(item);
      roster.add(item);
    }
    assert.equal(roster.size, twin.size);
    if (i % 100 === 0) assert.deepEqual(new Set(roster.items), twin);
  }
});

const CHURN = 50_000;
const ALIVE = 20;

/** Items come and go. @returns Bytes of those that went and were kept. */
async function churn(set: { add(item: Item): unknown; delete(item: Item): unknown }) {
  const queue: Item[] = [];
  const turn = () => {
    const item = new Item(0);
    set.add(item);
    queue.push(item);
    if (queue.length > ALIVE) set.delete(queue.shift()!);
  };
  const run = (times: number) => {
    for (let i = 0; i < times; i++) turn();
  };
  return await survivors(() => run(1000), () => run(CHURN));
}

Deno.test("what has left a roster is not kept by it, as by a set", async () => {
  const bytes = 1024 * CHURN;
  const bySet = await churn(new Set<Item>());
  const byRoster = await churn(new Roster<Item, "place">("place"));
  // What lives when the young generation is collected counts too, up to 4 %; a set keeps 70 %.
  assert.ok(byRoster < 0.1 * bytes, `${byRoster} of ${bytes} bytes`);
  // Else there is no need for rosters any more.
  assert.ok(bySet > 0.3 * bytes, `${bySet} of ${bytes} bytes`);
});
