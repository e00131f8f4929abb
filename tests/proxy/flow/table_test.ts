import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, type FlowCarrier, FlowOwner } from "../../../proxy/flow/flow.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";
import { admission } from "../forward/lab.ts";

const ip = (text: string) => parseIpAddress(text)!;
const PEER = new FlowOwner(() => "laptop");

function flow(destination: string): Flow {
  return new Flow("udp", PEER, ip("10.9.0.2"), 40_000, ip(destination), 53, 0);
}

Deno.test("observers are told of each flow that begins, is refused and ends, the last with its final figures", () => {
  const table = new FlowTable();
  const told: unknown[] = [];
  table.observe({
    began: ({ dialled, state, end }) => told.push(["began", `${dialled}`, state, end]),
    ended: ({ end, state, rttMs, packetsUp, carrier }) =>
      told.push(["ended", end, state, rttMs, packetsUp, carrier]),
    refused: ({ destination }, why) => told.push(["refused", `${destination}`, why]),
  });
  const subject = admission({ table });
  const allowed = flow("10.50.0.1");
  assert.equal(subject.admit(allowed, 0), undefined);
  assert.equal(subject.admit(flow("169.254.169.254"), 0), "unsafe");
  allowed.carrier = {
    inspect: () => ({
      state: "open",
      rttMs: 12,
      retransmits: 1,
      outOfOrder: 2,
      packetsUp: 3,
      packetsDown: 4,
    }),
  } as unknown as FlowCarrier;
  table.remove(allowed, "idle");
  table.remove(allowed, "aborted");
  assert.deepEqual(told, [
    ["began", "10.50.0.1", "dialling", undefined],
    ["refused", "169.254.169.254", "unsafe"],
    ["ended", "idle", "ended", 12, 3, undefined],
  ]);
  const { retransmits, outOfOrder, packetsDown } = allowed;
  assert.deepEqual([retransmits, outOfOrder, packetsDown], [1, 2, 4]);
});

Deno.test("an observer that is taken away hears no more, and the others go on", () => {
  const table = new FlowTable();
  let [first, second] = [0, 0];
  const stop = table.observe({ began: () => first++ });
  table.observe({ began: () => second++ });
  table.add(flow("10.50.0.1"));
  stop();
  table.add(flow("10.50.0.2"));
  assert.deepEqual([first, second], [1, 2]);
});
