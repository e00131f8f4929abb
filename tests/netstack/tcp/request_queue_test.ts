import assert from "node:assert/strict";
import fc from "fast-check";
import type { HalfOpen } from "../../../netstack/tcp/forwarder.ts";
import { RequestQueue } from "../../../netstack/tcp/request_queue.ts";

Deno.test("requests come out in turns by sender, and in order for each; a late sender waits for one of each other", () => {
  fc.assert(fc.property(fc.array(fc.option(fc.nat(3)), { maxLength: 400 }), (steps) => {
    const queue = new RequestQueue();
    const waiting: HalfOpen[] = [];
    const takenSince = new Map<unknown, number>();
    const take = () => {
      const request = queue.take();
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
      assert.equal(queue.isEmpty, waiting.length === 0);
    };
    for (const from of steps) {
      if (from === null) {
        take();
        continue;
      }
      const request = { from } as unknown as HalfOpen;
      waiting.push(request);
      queue.push(request);
    }
    while (waiting.length > 0) take();
    take();
  }));
});
