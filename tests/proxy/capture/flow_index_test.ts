import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { FlowIndex } from "../../../proxy/capture/flow_index.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";
import { until } from "../until.ts";

const ADDRESS = parseIpAddress("10.50.0.1")!;
const OWNER = new FlowOwner(() => "laptop");
const COUNT = 2_000;

function full() {
  const table = new FlowTable();
  const begin = (port: number) => {
    const flow = new Flow("udp", OWNER, ADDRESS, port, ADDRESS, 53, 0);
    table.add(flow);
    return flow;
  };
  const flows = Array.from({ length: COUNT }, (_, i) => begin(1 + i));
  return { table, flows, begin };
}

Deno.test("of thousands of flows some are known at once, and all in the turns that follow", async () => {
  const { table, flows, begin } = full();
  const index = new FlowIndex(table, () => false);
  assert.ok(index.size > 0 && index.size < COUNT / 2, `${index.size} at once`);
  table.remove(flows.at(-1)!, "closed"); // before its turn
  begin(50_000);
  await until(() => index.size === COUNT, "all are known");
  index.close();
});

Deno.test("an index that is closed takes no more", async () => {
  const { table } = full();
  const index = new FlowIndex(table, () => false);
  index.close();
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(index.size, 0);
});
