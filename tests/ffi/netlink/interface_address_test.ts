import assert from "node:assert/strict";
import { decodeAddress, encodeAddress } from "../../../ffi/netlink/interface_address.ts";
import { assertSameBody, bytes } from "./hex.ts";

const SIZE = 8;

Deno.test("addresses are added and removed by what ip sends", () => {
  // ip address add 10.9.0.1/24 dev v0
  const ipv4 = bytes(
    "2800000014000506889c076b000000000218000003000000",
    "080002000a090001080001000a090001",
  );
  assertSameBody(encodeAddress(3, "10.9.0.1/24"), ipv4, SIZE);
  // ip address add fd00::1/64 dev v0 nodad noprefixroute
  const ipv6 = bytes(
    "4800000014000506899c076b000000000a40000003000000",
    "14000200fd000000000000000000000000000001",
    "0800080002020000",
    "14000100fd000000000000000000000000000001",
  );
  assertSameBody(encodeAddress(3, "fd00::1/64", { noPrefixRoute: true }), ipv6, SIZE);
});

Deno.test("addresses are read as the kernel tells them", () => {
  const loopback = bytes(
    "020880fe01000000080001007f000001080002007f000001070003006c6f0000",
    "080008008000000014000600ffffffffffffffff2712240027122400",
  );
  const common = { peer: undefined, temporary: false, tentative: false, permanent: true };
  assert.deepEqual(decodeAddress(loopback), {
    ...{ index: 1, version: 4, address: "127.0.0.1", prefixLength: 8, linkLocal: false },
    ...common,
  });
  const ipv6 = bytes(
    "0a4082000300000014000100fd000000000000000000000000000001",
    "14000600ffffffffffffffff51182400511824000800080082020000",
  );
  assert.deepEqual(decodeAddress(ipv6), {
    ...{ index: 3, version: 6, address: "fd00::1", prefixLength: 64, linkLocal: false },
    ...common,
  });
  // The flag that says temporary of IPv6 says secondary of IPv4.
  const secondary = bytes("0218810003000000080001000a090001080002000a0900010800080081000000");
  assert.equal(decodeAddress(secondary).temporary, false);
  const other = bytes("0220800003000000080001000a090002080002000a090001");
  assert.equal(decodeAddress(other).address, "10.9.0.1");
  assert.equal(decodeAddress(other).peer, "10.9.0.2");
});
