import assert from "node:assert/strict";
import fc from "fast-check";
import type { HalfOpen } from "../../../netstack/tcp/forwarder.ts";
import { RequestQueue } from "../../../netstack/tcp/request_queue.ts";

/** One whom the stack was not told of, and one that is no object. */
const SENDERS = [{}, {}, undefined, "a name"];

Deno.test("requests come out in turns by sender, and in order for each; a late sender waits for one of each other", () => {
  fc.assert(fc.property(fc.array(fc.option(fc.nat(3)), { maxLength: 400 }), (steps) => {
    const queue = new RequestQueue();
    const waiting: HalfOpen[] = [];
    const takenSince = new Map<unknown, number>();
    const take = () => {
      const request = queue.take(0);
      if (request === undefined) {
        assert.deepEqual(waiting, []);
        return;
      }
      const { from } = request;
      assert.equal(request, waiting.find((other) => other.from === from), "in order");
      waiting.splice(waiting.indexOf(request), 1);
      takenSince.delete(from);
      for (const other of new Set(waiting.map(({ from }) => from))) {
        const turns = (takenSince.get(other) ?? 0) + 1;
        takenSince.set(other, turns);
        assert.ok(turns <= 4, "everybody has a turn");
      }
      assert.equal(queue.isReady, waiting.length > 0);
    };
    for (const from of steps) {
      if (from === null) {
        take();
        continue;
      }
      const request = { from: SENDERS[from], at: 0 } as unknown as HalfOpen;
      waiting.push(request);
      queue.push(request);
    }
    while (waiting.length > 0) take();
    take();
  }));
});

/** Takes what may be taken, a millisecond at a time. @returns how many of each sender's */
function takeFor(queue: RequestQueue, from: number, ms: number, each = (_now: number) => {}) {
  const taken = new Map<unknown, number>();
  for (let now = from; now < from + ms; now++) {
    each(now);
    for (let request; (request = queue.take(now)) !== undefined;) {
      taken.set(request.from, (taken.get(request.from) ?? 0) + 1);
    }
    assert.equal(queue.isReady, false);
    assert.ok(queue.next() > now, "what may be taken is");
  }
  return taken;
}

function fill(
  queue: RequestQueue,
  from: unknown,
  count: number,
  at: number,
  settled = false,
): void {
  for (let i = 0; i < count; i++) queue.push({ from, at, settled } as unknown as HalfOpen);
}

Deno.test("a sender's requests are held to a rate while others move data, after some at once", () => {
  const [flooder, other] = [{}, {}];
  let moved = 0;
  let rate = 500;
  const queue = new RequestQueue({
    trafficBeside: (from) => from === flooder ? moved : 0,
    requestRate: () => rate,
  });
  const second = (at: number, bytes: number) =>
    takeFor(queue, at, 1_000, (now) => {
      moved += bytes;
      fill(queue, flooder, 5, now);
      fill(queue, other, 5, now);
    });
  assert.equal(second(0, 0).get(flooder), 5_000, "nobody else moves anything");
  assert.equal(second(1_000, 499).get(flooder), 5_000, "or hardly");
  second(2_000, 500);
  const taken = second(3_000, 500);
  assert.equal(taken.get(other), 5_000, "nor are those held whom nobody else disturbs");
  assert.ok(taken.get(flooder)! <= 500 && taken.get(flooder)! >= 499, `${taken.get(flooder)}`);
  rate = 2_000;
  const more = second(4_000, 500).get(flooder)!;
  assert.ok(more >= 1_990 && more <= 2_000 + 32, `${more}`);
});

Deno.test("a flush tells of eight requests, and of two beside others whose data moves", () => {
  const flooder = {};
  let moved = 0;
  const queue = new RequestQueue({ trafficBeside: () => moved, requestRate: () => 500 });
  assert.equal(queue.atOnce, 8);
  fill(queue, flooder, 2, 0);
  takeFor(queue, 0, 200);
  moved = 1e6;
  fill(queue, flooder, 1, 200);
  takeFor(queue, 200, 1);
  assert.equal(queue.atOnce, 2);
  fill(queue, flooder, 1, 400);
  takeFor(queue, 400, 1);
  assert.equal(queue.atOnce, 8, "the others stopped");
});

Deno.test("a held sender goes on as it likes when the others stop; those that gave up do not count", () => {
  const flooder = {};
  let moved = 0;
  const queue = new RequestQueue({ trafficBeside: () => moved, requestRate: () => 500 });
  fill(queue, flooder, 1, 0);
  takeFor(queue, 0, 1);
  moved = 1e6;
  fill(queue, flooder, 100, 200, true);
  fill(queue, flooder, 1_000, 200);
  const first = takeFor(queue, 200, 1).get(flooder)!;
  assert.equal(first, 100 + 33, "those that gave up, and a burst");
  assert.ok(queue.next() <= 202);
  assert.equal(takeFor(queue, 201, 150).get(flooder), 1_100 - first);
  assert.equal(queue.next(), Infinity);
  // Without requests its line is paced as before.
  moved += 1e6;
  fill(queue, flooder, 10, 400);
  takeFor(queue, 400, 10);
  fill(queue, flooder, 100, 410);
  assert.ok(takeFor(queue, 410, 10).get(flooder)! < 40);
});
