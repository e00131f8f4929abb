import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";
import { AmbiguousFlow, findFlow } from "../../../proxy/gateway/flow_stats.ts";

Deno.test("a flow is found by as many digits as are its alone, as by looking at every id as text", () => {
  const table = new FlowTable();
  const address = parseIpAddress("10.50.0.1")!;
  const owner = new FlowOwner(() => "laptop");
  for (let i = 0; i < 2_000; i++) table.add(new Flow("udp", owner, address, 1, address, 2, 0));
  const all = table.flows().map((flow) => ({ flow, id: flow.id }));
  let [single, several] = [0, 0];
  for (const { id } of all.filter((_, i) => i % 40 === 0)) {
    for (const length of [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32]) {
      const text = id.slice(0, length).toUpperCase();
      const plain = all.filter((one) => one.id.startsWith(id.slice(0, length)));
      if (plain.length > 1) {
        several++;
        const first = plain[0]!.id.slice(0, 8);
        assert.throws(
          () => findFlow(table, text),
          (error) =>
            error instanceof AmbiguousFlow &&
            error.message.includes(`the ids of ${plain.length} flows (${first}, `),
        );
      } else {
        single++;
        assert.equal(findFlow(table, text), plain[0]!.flow);
      }
    }
  }
  assert.ok(single > 50 && several > 50, `${single}, ${several}`);
  const taken = new Set(all.map(({ id }) => id.slice(0, 8)));
  const free = Array.from({ length: 3_000 }, (_, i) => i.toString(16).padStart(8, "0"))
    .find((id) => !taken.has(id))!;
  for (const none of ["", "x", "0x", free, `${table.flows()[0]!.id}0`]) {
    assert.equal(findFlow(table, none), undefined, none);
  }
});
