import assert from "node:assert/strict";
import fc from "fast-check";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { HeldBytes } from "../../../proxy/forward/held_bytes.ts";

Deno.test("a peer that has as much held as it can leaves room for others", () => {
  const held = new HeldBytes(1_200);
  const [greedy, other, third] = [1, 2, 3].map((n) => new FlowOwner(() => `${n}`));
  const fill = (owner: FlowOwner) => {
    let bytes = 0;
    while (held.take(owner, 10)) bytes += 10;
    return bytes;
  };
  assert.deepEqual([fill(greedy!), fill(other!), fill(third!)], [600, 300, 150]);
  held.give(greedy!, 600);
  assert.equal(fill(third!), 300);
});

Deno.test("never more is held than there is room for, and all of it is given back", () => {
  const owners = [1, 2, 3].map((n) => new FlowOwner(() => `${n}`));
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 400 }), fc.boolean())),
    (steps) => {
      const held = new HeldBytes(1_000);
      const taken: [FlowOwner, number][] = [];
      for (const [who, bytes, isTaken] of steps) {
        if (isTaken && held.take(owners[who]!, bytes)) taken.push([owners[who]!, bytes]);
        else if (!isTaken && taken.length > 0) held.give(...taken.pop()!);
        assert.ok(taken.reduce((sum, [, bytes]) => sum + bytes, 0) <= 1_000);
      }
      for (const one of taken) held.give(...one);
      assert.ok(held.take(owners[0]!, 500), "all of it is free again");
    },
  ));
});
