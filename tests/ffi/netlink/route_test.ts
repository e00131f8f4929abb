import assert from "node:assert/strict";
import { decodeRoute, encodeLookup, encodeRoute, MAIN_TABLE } from "../../../ffi/netlink/route.ts";
import { assertSameBody, bytes } from "./hex.ts";

const SIZE = 12;
/** What ip leaves out for the main table, and we do not. */
const MAIN = "08000f00fe000000";

Deno.test("routes are added by what ip sends", () => {
  // ip route add 192.0.2.0/24 via 10.9.0.7 dev v0 mtu 1300 table 51820 metric 5
  const sent = bytes(
    "5000000018000506899c076b00000000021800000003000100000000",
    "08000100c0000200080005000a09000708000f006cca0000",
    "080006000500000008000400030000000c0008000800020014050000",
  );
  const route = {
    destination: "192.0.2.0/24",
    gateway: "10.9.0.7",
    device: 3,
    mtu: 1300,
    table: 51820,
    metric: 5,
  };
  assertSameBody(encodeRoute(route), sent, SIZE);
  // ip route add blackhole 7.0.0.0/8
  const hole = bytes(
    "24000000180005068b9c076b0000000002080000fe03000600000000",
    "0800010007000000",
    MAIN,
  );
  assertSameBody(encodeRoute({ destination: "7.0.0.0/8", type: "blackhole" }), hole, SIZE);
  // ip route add 2001:db8::/32 via fd00::2 src fd00::1
  const ipv6 = bytes(
    "58000000180005068c9c076b000000000a200000fe03000100000000",
    "1400010020010db8000000000000000000000000",
    "14000500fd000000000000000000000000000002",
    "14000700fd000000000000000000000000000001",
    MAIN,
  );
  const six = { destination: "2001:db8::/32", gateway: "fd00::2", source: "fd00::1" };
  assertSameBody(encodeRoute(six), ipv6, SIZE);
});

Deno.test("a route is removed whoever made it", () => {
  // ip route del 192.0.2.0/24 table 51820
  const sent = bytes(
    "2c000000190005008a9c076b00000000021800000000ff0000000000",
    "08000100c000020008000f006cca0000",
  );
  assertSameBody(encodeRoute({ destination: "192.0.2.0/24", table: 51820 }, true), sent, SIZE);
});

Deno.test("addresses of two families in one route are refused, but for a gateway", () => {
  const mixed = { destination: "10.0.0.0/8", source: "fd00::1" };
  assert.throws(() => encodeRoute(mixed), new RangeError("fd00::1 is of the other family"));
  const via = encodeRoute({ destination: "10.0.0.0/8", gateway: "fe80::1", device: 3 });
  assert.ok(via.some((part) => part.toHex().startsWith("160012000a00fe80")));
});

Deno.test("routes are read as the kernel tells them", () => {
  const none = {
    ...{ device: undefined, gateway: undefined, source: undefined, mtu: undefined },
    ...{ metric: 0, nextHops: [] },
  };
  const main = { version: 4, table: MAIN_TABLE, type: "unicast", protocol: 3 };
  const hole = bytes("02080000fe0300060000000008000f00fe0000000800010007000000");
  const route = { ...none, ...main, destination: "7.0.0.0/8" };
  assert.deepEqual(decodeRoute(hole), { ...route, type: "blackhole" });
  const connected = bytes(
    "02180000fe02fd011000000008000f00fe000000",
    "080001000a090000080007000a0900020800040003000000",
  );
  assert.deepEqual(decodeRoute(connected), {
    ...{ ...none, ...main, destination: "10.9.0.0/24", protocol: 2 },
    ...{ device: 3, source: "10.9.0.2" },
  });
  const several = bytes(
    "02180000fe0300011000000008000f00fe00000008000100c6336400",
    "240009001000100003000000080005000a0900031000100003000000080005000a090004",
  );
  assert.deepEqual(decodeRoute(several), {
    ...{ ...none, ...main, destination: "198.51.100.0/24" },
    nextHops: [{ device: 3, gateway: "10.9.0.3" }, { device: 3, gateway: "10.9.0.4" }],
  });
  const ipv6 = bytes(
    "0a080000ff0200051000000008000f00ff000000",
    "14000100ff000000000000000000000000000000",
    "08000600000100000800040003000000",
    "24000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000",
  );
  assert.deepEqual(decodeRoute(ipv6), {
    ...{ ...none, version: 6, destination: "ff00::/8", table: 255, type: "multicast" },
    ...{ protocol: 2, device: 3, metric: 256 },
  });
});

Deno.test("a look-up has the mark of its socket, and none for 0", () => {
  const marked = encodeLookup("10.9.0.9", 7).map((part) => part.toHex());
  assert.deepEqual(marked, ["022000000000000000100000", "080001000a090009", "0800100007000000"]);
  assert.equal(encodeLookup("10.9.0.9", 0).length, 2);
  assert.equal(encodeLookup("fd00::1")[0]!.toHex(), "0a8000000000000000000000");
  assert.throws(() => encodeLookup("example.com"), RangeError);
});
