import assert from "node:assert/strict";
import { isIP } from "node:net";
import fc from "fast-check";
import { parseInterfaceAddress, parseIpAddress, parsePrefix } from "../../proxy/address.ts";

Deno.test("an address is one address for everybody: no octal, hexadecimal, short form or zone", () => {
  const refused = [
    "",
    "10.1",
    "010.0.0.1",
    "0x7f.0.0.1",
    "1.2.3.256",
    "2130706433",
    "1.2.3.4 ",
    ":",
  ]
    .concat([
      "fe80::1%eth0",
      "1::2::3",
      ":::",
      "00001::",
      "::ffff:010.0.0.1",
      "1:2:3:4:5:6:7",
      "[::1]",
    ]);
  for (const text of refused) assert.equal(parseIpAddress(text), undefined, text);
  const taken = {
    "10.9.0.1": "10.9.0.1",
    "FD09::0:1": "fd09::1",
    "::ffff:1.2.3.4": "::ffff:1.2.3.4",
  };
  for (const [text, printed] of Object.entries(taken)) {
    assert.equal(`${parseIpAddress(text)}`, printed);
  }
});

Deno.test("texts taken for addresses are those that node:net takes", () => {
  const piece = fc.constantFrom(
    ...[
      ":",
      "::",
      "0",
      "1",
      "f",
      "ffff",
      "00",
      "abcde",
      "1.2.3.4",
      "01.2.3.4",
      "1.2",
      ".",
      "256",
      "/",
    ],
  );
  const text = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
    fc.ipV4(),
    fc.ipV6(),
    fc.ipV4Extended(),
  );
  fc.assert(
    fc.property(text, (text) => {
      const address = parseIpAddress(text);
      assert.equal(address?.version ?? 0, isIP(text));
      if (address) assert.ok(parseIpAddress(`${address}`)?.equals(address));
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("a prefix length fits its address", () => {
  assert.equal(parseInterfaceAddress("10.9.0.1")?.length, 32);
  assert.equal(parseInterfaceAddress("fd09::1")?.length, 128);
  assert.equal(`${parsePrefix("10.9.0.1/0")}`, "0.0.0.0/0");
  for (
    const text of [
      "10.9.0.1/33",
      "::/129",
      "10.9.0.1/",
      "10.9.0.1/08",
      "10.9.0.1/-1",
      "1.2.3.4/8/8",
    ]
  ) {
    assert.equal(parsePrefix(text), undefined, text);
  }
});
