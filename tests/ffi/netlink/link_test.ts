import assert from "node:assert/strict";
import { decodeLink, encodeLink, encodeLinkName } from "../../../ffi/netlink/link.ts";
import { assertSameBody, bytes } from "./hex.ts";

const SIZE = 16;

Deno.test("an interface is changed by what ip sends", () => {
  // ip link set v0 mtu 1400
  const mtu = bytes(
    "2800000010000500889c076b0000000000000000030000000000000000000000",
    "0800040078050000",
  );
  assertSameBody(encodeLink(3, { mtu: 1400 }), mtu, SIZE);
  // ip link set v0 addrgenmode none
  const mode = bytes(
    "30000000100005008e9c076b0000000000000000030000000000000000000000",
    "10001a000c000a000500080001000000",
  );
  assertSameBody(encodeLink(3, { withoutLinkLocal: true }), mode, SIZE);
});

Deno.test("up and down say which flag they mean", () => {
  assert.equal(encodeLink(3, { up: true })[0]!.toHex(), "00000000030000000100000001000000");
  assert.equal(encodeLink(3, { up: false })[0]!.toHex(), "00000000030000000000000001000000");
  assert.equal(encodeLinkName("v0")[1]!.toHex(), "0700030076300000");
});

Deno.test("a veth without its other end is read as the kernel tells it", () => {
  // Without what stands between, and IFLA_LINKINFO's own length less the kind of its data.
  const told = bytes(
    "00000100030000000310000000000000",
    "070003007630000008000d00e80300000500100003000000",
    "0800040078050000",
    "100012000900010076657468" + "00000000",
  );
  assert.deepEqual(decodeLink(told), {
    ...{ index: 3, name: "v0", kind: "veth", mtu: 1400, queueLength: 1000 },
    ...{ up: true, running: false, loopback: false },
  });
});
