import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { Dials } from "../../../proxy/flow/dials.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";

Deno.test("there may be more dials in flight than places are remembered", () => {
  const subject = new Dials();
  const owner = new FlowOwner(() => "laptop");
  const flows = Array.from({ length: 5_000 }, (_, i) => {
    const target = IpAddress.v4(10, i >> 8, i & 0xff, 1);
    const flow = new Flow("tcp", owner, IpAddress.v4(10, 9, 0, 2), i, target, 80, 0);
    flow.dialled = target;
    subject.begin(flow, 0);
    return flow;
  });
  assert.equal(subject.size, 5_000);
  for (const flow of flows) subject.end(flow, "silent", 1);
  assert.equal(subject.size, 0);
  assert.equal(subject.shares.total, 0);
});
