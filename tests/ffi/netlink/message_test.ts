import assert from "node:assert/strict";
import { decodeError, NetlinkError } from "../../../ffi/netlink/error.ts";
import {
  attribute,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  text,
  u32,
} from "../../../ffi/netlink/message.ts";
import { bytes } from "./hex.ts";

Deno.test("a message of ip's comes out as ip sent it", () => {
  // ip address add 10.9.0.2/24 dev v0, v0 being interface 3
  const sent = bytes(
    "2800000014000506799c076b00000000",
    "021800000300000008000200",
    "0a090002080001000a090002",
  );
  const address = Uint8Array.of(10, 9, 0, 2);
  const built = encodeMessage(
    20,
    0x605,
    0x6b079c79,
    Uint8Array.of(2, 24, 0, 0, 3, 0, 0, 0),
    attribute(2, address),
    attribute(1, address),
  );
  assert.equal(built.toHex(), sent.toHex());
});

Deno.test("attributes are padded to four bytes, and read without", () => {
  const built = attribute(3, text("v0"));
  assert.equal(built.toHex(), "0700030076300000");
  const nested = attribute(18, attribute(1, text("tun")), attribute(2, u32(7)));
  const inner = decodeAttributes(decodeAttributes(nested).get(18)!);
  assert.deepEqual([...inner.keys()], [1, 2]);
  assert.equal(inner.get(1)!.length, 4);
});

Deno.test("the kernel's explanation is found in an error, whether or not the request is in it", () => {
  // What ip route add 1.2.3.0/24 via 9.9.9.9 was told, with the request; and the same without.
  const detail = "200001004e657874686f702068617320696e76616c6964206761746577617900";
  const whole = bytes(
    "6000000002000002d89c076b392800009bffffff",
    "2c00000018000506d89c076b0000000002180000fe03000100000000",
    "08000100010203000800050009090909",
    detail,
  );
  const capped = bytes(
    "4400000002000003d89c076b392800009bffffff",
    "2c00000018000506d89c076b00000000",
    detail,
  );
  for (const datagram of [whole, capped]) {
    const [message] = decodeMessages(datagram);
    assert.deepEqual(decodeError(message!), {
      errno: 101,
      detail: "Nexthop has invalid gateway",
    });
  }
  const error = new NetlinkError("add the route", 101, "Nexthop has invalid gateway");
  const told = "cannot add the route: Nexthop has invalid gateway (ENETUNREACH)";
  assert.equal(error.message, told);
  assert.equal(error.code, "ENETUNREACH");
  assert.match(new NetlinkError("add it", 1).message, /EPERM: needs CAP_NET_ADMIN$/);
});

Deno.test("several messages of one datagram are told apart, one that is cut off is an error", () => {
  const two = Uint8Array.from([
    ...encodeMessage(1, 2, 3, Uint8Array.of(9, 9, 9)),
    0, // padding
    ...encodeMessage(4, 5, 6),
  ]);
  const found = [...decodeMessages(two)].map((
    { type, flags, sequence, body },
  ) => [type, flags, sequence, body.length]);
  assert.deepEqual(found, [[1, 2, 3, 3], [4, 5, 6, 0]]);
  const cut = two.subarray(0, 18);
  assert.throws(() => [...decodeMessages(cut)], /a netlink message of 19 bytes where 18 are/);
  assert.throws(
    () => decodeAttributes(bytes("090001000000")),
    /a netlink attribute of 9 bytes where 6 are/,
  );
  assert.throws(() => decodeAttributes(bytes("00000100")), RangeError);
});
