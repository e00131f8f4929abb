import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import { Idlest } from "../../../proxy/flow/idlest.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";

const ADDRESS = parseIpAddress("10.50.0.1")!;
const OWNERS = [new FlowOwner(() => "laptop"), new FlowOwner(() => "phone")];

const happenings = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("begin" as const), place: fc.nat() }),
    fc.record({ kind: fc.constant("move" as const), place: fc.nat() }),
    fc.record({ kind: fc.constant("end" as const), place: fc.nat() }),
    fc.record({ kind: fc.constant("evict" as const), place: fc.nat() }),
  ),
  { maxLength: 400, size: "max" },
);

/** As it was found before many were found at once. */
function plainIdlest(table: FlowTable, owner: FlowOwner): Flow | undefined {
  let found: Flow | undefined;
  for (const flow of table.live) {
    if (flow.protocol !== "tcp" || flow.owner !== owner || flow.isTransit) continue;
    if (found === undefined || flow.lastActivity < found.lastActivity) found = flow;
  }
  return found;
}

Deno.test("the most idle flow is found as a look at all of them finds it, whatever begins, moves and ends", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 300 }), happenings, (begun, all) => {
    const table = new FlowTable();
    let now = 0;
    const begin = (place: number) => {
      const isOther = place % 7 === 0;
      const owner = OWNERS[place % 3 === 0 ? 1 : 0]!;
      table.add(
        new Flow(isOther ? "udp" : "tcp", owner, ADDRESS, 1, ADDRESS, 2, ++now, place % 11 === 0),
      );
    };
    for (let place = 0; place < begun; place++) begin(place);
    for (const { kind, place } of all) {
      const flows = table.flows();
      const flow = flows[place % Math.max(1, flows.length)];
      if (kind === "begin") begin(place);
      else if (kind === "evict") {
        const owner = OWNERS[place % 5 === 0 ? 1 : 0]!;
        const found = table.idlest("tcp", owner);
        assert.equal(found, plainIdlest(table, owner));
        if (found !== undefined) table.remove(found, "evicted");
      } else if (flow === undefined) continue;
      else if (kind === "move") flow.lastActivity = ++now;
      else table.remove(flow, "closed");
    }
  }));
});

Deno.test("who makes room again and again does not look at all flows each time", () => {
  const table = new FlowTable();
  const owner = OWNERS[0]!;
  for (let i = 0; i < 2_000; i++) {
    // The most idle last, and moved about.
    const flow = new Flow("tcp", owner, ADDRESS, 1, ADDRESS, 2, 2_000 - i * 7 % 2_000);
    table.add(flow);
  }
  let looks = 0;
  const idlest = new Idlest<Flow>({
    all: {
      *[Symbol.iterator]() {
        for (const flow of table.live) {
          looks++;
          yield flow;
        }
      },
    },
    isOf: ({ owner }, of) => owner === of,
    activityOf: ({ lastActivity }) => lastActivity,
    isLive: ({ tablePlace }) => tablePlace >= 0,
  });
  for (let i = 1; i <= 640; i++) {
    const flow = idlest.of(owner)!;
    assert.equal(flow.lastActivity, i);
    table.remove(flow, "evicted");
  }
  assert.ok(looks <= 10 * 2_000, `${looks} looks`);
});
