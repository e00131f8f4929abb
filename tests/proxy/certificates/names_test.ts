import assert from "node:assert/strict";
import fc from "fast-check";
import { parseSubjectName } from "../../../proxy/certificates/names.ts";
import { ParseFailure } from "../../../proxy/config/values.ts";

Deno.test("names and addresses stand in a certificate as verifiers compare them", () => {
  for (
    const [text, type, value] of [
      ["hub.example.com", "dns", "hub.example.com"],
      ["HUB.Example.com.", "dns", "hub.example.com"],
      ["localhost", "dns", "localhost"],
      ["my_service", "dns", "my_service"],
      ["*.example.com", "dns", "*.example.com"],
      ["bücher.example", "dns", "xn--bcher-kva.example"],
      ["*.BÜCHER.example", "dns", "*.xn--bcher-kva.example"],
      ["3com.example", "dns", "3com.example"],
      [`${"a".repeat(63)}.example`, "dns", `${"a".repeat(63)}.example`],
      ["203.0.113.7", "ip", "203.0.113.7"],
      ["FD00:0::1", "ip", "fd00::1"],
      ["::ffff:1.2.3.4", "ip", "::ffff:1.2.3.4"],
    ] as const
  ) {
    assert.deepEqual(parseSubjectName(text), { type, value }, text);
  }
});

Deno.test("what is neither a name nor an address is refused with what was expected", () => {
  for (
    const text of [
      ...["", ".", "..", "a..b", ".a", "-a.b", "a-.b", "a b", "a/b", "a:1", "a@b", "a%41"],
      ...["https://hub", "hub:443", "[::1]", "::1/128", "10.0.0.0/8", "fe80::1%eth0", "1::2::3"],
      ...["10.0.0.256", "1.2.3", "127.1", "010.1.1.1", "0x7f.1", "a.0x7f", "1.2.3.4.5", "7"],
      ...["*", "*.", "*.com", "a.*.b", "**.a.b", "w*.a.b", "xn--a.b", "a\0b", "a\nb"],
      ...["a".repeat(64), `${"a.".repeat(127)}aa`, `${"ü".repeat(63)}.example`],
    ]
  ) {
    const failure = parseSubjectName(text);
    assert.ok(failure instanceof ParseFailure, text);
    assert.match(
      failure.message,
      /^(?:".*"|the value \(withheld.*\)) (?:is|stands) .*, expected /,
      text,
    );
  }
});

Deno.test("any text gives a name of letters, digits, hyphens and dots that stays as it is, or a failure", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 80 }), (text) => {
      const name = parseSubjectName(text);
      if (name instanceof ParseFailure) return;
      assert.match(name.value, name.type === "ip" ? /^[0-9a-f:.]+$/ : /^(?:\*\.)?[a-z0-9._-]+$/);
      assert.deepEqual(parseSubjectName(name.value), name);
    }),
  );
});
