import assert from "node:assert/strict";
import fc from "fast-check";
import { addressBytes, addressText, masked, prefixBytes } from "../../../ffi/netlink/address.ts";
import { parseIpAddress } from "../../../proxy/address.ts";

Deno.test("an address is written as RFC 5952 says, and read back", () => {
  const texts = [
    ...["0.0.0.0", "192.0.2.255", "::", "::1", "1::", "fd00::1", "2001:db8::1:0:0:1"],
    ...["1:2:3:4:5:6:7:8", "1:0:3:4:5:6:7:8", "0:0:1::", "::ffff:c000:201"],
  ];
  for (const text of texts) assert.equal(addressText(addressBytes(text)), text);
  assert.deepEqual(addressBytes("::ffff:192.0.2.1"), addressBytes("::ffff:c000:201"));
  assert.deepEqual(addressBytes("64:ff9b::192.0.2.1"), addressBytes("64:ff9b::c000:201"));
});

Deno.test("any address is read from what is written of it, here and by the product's own reader", () => {
  const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 }));
  const any = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.array(group, { minLength: 16, maxLength: 16 }).map((bytes) => Uint8Array.from(bytes)),
  );
  fc.assert(fc.property(any, (bytes) => {
    const text = addressText(bytes);
    assert.deepEqual(addressBytes(text), Uint8Array.from(bytes));
    assert.deepEqual(parseIpAddress(text)?.bytes, Uint8Array.from(bytes));
  }));
});

Deno.test("what is no address or prefix is refused with its text", () => {
  for (const text of ["", "1.2.3", "01.2.3.4", "1.2.3.4.5", ":", "1::2::3", "fe80::1%eth0", "x"]) {
    assert.throws(() => addressBytes(text), new RangeError(`"${text}" is no IP address`));
  }
  for (const text of ["1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/8/8"]) {
    assert.throws(() => prefixBytes(text), RangeError, text);
  }
});

Deno.test("a prefix without a length is a host, and what is behind its length is masked", () => {
  assert.equal(prefixBytes("10.0.0.1").length, 32);
  assert.equal(prefixBytes("::1").length, 128);
  assert.equal(addressText(masked(prefixBytes("10.1.255.255/20"))), "10.1.240.0");
  assert.equal(addressText(masked(prefixBytes("2001:db8:ffff::1/33"))), "2001:db8:8000::");
  assert.equal(addressText(masked(prefixBytes("10.1.2.3/0"))), "0.0.0.0");
});
