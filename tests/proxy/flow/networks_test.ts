import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { NetworkTable, type NetworkTotals } from "../../../proxy/flow/networks.ts";

const MOST = 8;
const address = (network: number, host = 1) => IpAddress.v4(10, network >> 8, network & 0xff, host);

/** What a flow of `network` does. */
function count(table: NetworkTable, network: number, bytes: number): void {
  const found = table.of(address(network, 1 + bytes % 200));
  found.flows++;
  found.bytesDown += bytes;
}

function sum(table: NetworkTable, field: "flows" | "bytesDown"): number {
  let total = table.rest[field];
  for (const network of table.networks()) total += network[field];
  return total;
}

Deno.test("addresses of a /24 and of a /64 share their figures, others do not", () => {
  const table = new NetworkTable();
  const of = (text: string) => table.of(parseIpAddress(text)!);
  assert.equal(of("10.1.2.3"), of("10.1.2.255"));
  assert.notEqual(of("10.1.2.3"), of("10.1.3.3"));
  assert.equal(of("fd00:1:2:3::1"), of("fd00:1:2:3:ffff::"));
  assert.notEqual(of("fd00:1:2:3::1"), of("fd00:1:2:4::1"));
  assert.equal(
    `${of("10.1.2.3").prefix} ${of("fd00:1:2:3::1").prefix}`,
    "10.1.2.0/24 fd00:1:2:3::/64",
  );
});

Deno.test("the table stays bounded and loses nothing: what it forgets is in the rest", () => {
  const steps = fc.array(fc.tuple(fc.nat(60), fc.nat(10_000)), { maxLength: 400 });
  fc.assert(fc.property(steps, (all) => {
    const table = new NetworkTable(MOST);
    const twin = new Map<number, number>();
    for (const [network, bytes] of all) {
      count(table, network, bytes);
      twin.set(network, (twin.get(network) ?? 0) + bytes);
      assert.ok(table.size <= MOST);
    }
    assert.equal(sum(table, "flows"), all.length);
    assert.equal(sum(table, "bytesDown"), all.reduce((total, [, bytes]) => total + bytes, 0));
    for (const { prefix, bytesDown } of table.networks()) {
      const [, high, low] = prefix!.address.bytes;
      assert.ok(bytesDown <= twin.get(high! << 8 | low!)!, `${prefix} has no more than it did`);
    }
  }));
});

Deno.test("a network where as much happens as in all others together keeps its figures through any scan", () => {
  const scans = fc.array(fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.nat(1_000)), {
    maxLength: 400,
  });
  fc.assert(fc.property(scans, (scanned) => {
    const table = new NetworkTable(MOST);
    let busy = 0;
    for (const [network, bytes] of scanned) {
      count(table, 0, bytes + 1);
      busy += bytes + 1;
      count(table, network, bytes);
    }
    assert.equal(table.of(address(0)).bytesDown, busy);
  }));
});

Deno.test("the busiest of long ago gives way to the busiest of today", () => {
  const table = new NetworkTable(MOST);
  count(table, 1, 1_000_000);
  const yesterdays = table.of(address(1));
  for (let i = 0; i < 400; i++) {
    for (let today = 2; today < 2 + MOST / 2; today++) count(table, today, 1_000);
    count(table, 100 + i, 10);
  }
  assert.equal(yesterdays.into, table.rest);
  const kept = Array.from(table.networks(), ({ prefix }: NetworkTotals) => `${prefix}`);
  for (const prefix of ["10.0.2.0/24", "10.0.5.0/24"]) assert.ok(kept.includes(prefix), prefix);
});
