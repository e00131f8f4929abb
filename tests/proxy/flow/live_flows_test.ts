import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import { LiveFlows } from "../../../proxy/flow/live_flows.ts";

const ADDRESS = parseIpAddress("10.50.0.1")!;
const OWNER = new FlowOwner(() => "laptop");

function newFlow(): Flow {
  return new Flow("udp", OWNER, ADDRESS, 1, ADDRESS, 2, 0);
}

/** What happens between two steps of a loop: flows begin, and those at these places end. */
const changes = fc.record({
  begun: fc.integer({ min: 0, max: 40 }),
  ended: fc.array(fc.nat(), { maxLength: 60 }),
});

Deno.test("a loop meets, in order, those that were there when it began and are when their turn comes", () => {
  fc.assert(fc.property(
    fc.array(changes, { maxLength: 12 }),
    fc.array(changes, { maxLength: 60 }),
    (before, meanwhile) => {
      const list = new LiveFlows();
      const plain: Flow[] = [];
      const change = ({ begun, ended }: { begun: number; ended: readonly number[] }) => {
        for (let i = 0; i < begun; i++) {
          const flow = newFlow();
          list.add(flow);
          plain.push(flow);
        }
        for (const place of ended) {
          const [flow] = plain.splice(place % Math.max(1, plain.length), 1);
          if (flow === undefined) continue;
          list.delete(flow);
          list.delete(flow);
        }
      };
      before.forEach(change);
      const wanted = [...plain];
      const met: Flow[] = [];
      for (const flow of list) {
        assert.ok(plain.includes(flow), "it had ended");
        met.push(flow);
        const next = meanwhile[met.length - 1];
        if (next !== undefined) change(next);
        // Those that have ended before their turn are not met.
        for (let i = wanted.length - 1; i >= met.length; i--) {
          if (!plain.includes(wanted[i]!)) wanted.splice(i, 1);
        }
      }
      assert.deepEqual(met.map(({ sequence }) => sequence), wanted.map(({ sequence }) => sequence));
      assert.deepEqual([...list], plain);
      assert.equal(list.size, plain.length);
    },
  ));
});

Deno.test("flows that come and go leave no more holes than there are flows, and a few", () => {
  const list = new LiveFlows();
  const stays = newFlow();
  list.add(stays);
  let last = stays;
  for (let i = 0; i < 10_000; i++) {
    const flow = newFlow();
    list.add(flow);
    if (last !== stays) list.delete(last);
    last = flow;
    assert.ok(flow.tablePlace < 80, `place ${flow.tablePlace} of 2 flows`);
  }
  assert.deepEqual([...list], [stays, last]);
});
