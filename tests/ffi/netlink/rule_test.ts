import assert from "node:assert/strict";
import { decodeRule, encodeRule, type RuleSpec } from "../../../ffi/netlink/rule.ts";
import { assertSameBody, bytes } from "./hex.ts";

const SIZE = 12;

Deno.test("rules are added by what ip sends", () => {
  // ip rule add not fwmark 51820 table 51820
  const marked = bytes(
    "2c000000200005068a9c076b00000000020000000000000102000000",
    "08000a006cca000008000f006cca0000",
  );
  assertSameBody(encodeRule({ family: 4, not: true, mark: 51820, table: 51820 }), marked, SIZE);
  // ip rule add table main suppress_prefixlength 0 pref 100
  const suppressing = bytes(
    "2c000000200005068a9c076b0000000002000000fe00000100000000",
    "08000e00000000000800060064000000",
    "08000f00fe000000", // which ip leaves out
  );
  const rule = { family: 4, table: 254, suppressPrefixLength: 0, priority: 100 } as const;
  assertSameBody(encodeRule(rule), suppressing, SIZE);
});

Deno.test("rules are read as the kernel tells them", () => {
  const marked = bytes(
    "02000000fc0000010200000008000f006cca000008000e00ffffffff",
    "050015000000000008000600fd7f000008000a006cca000008001000ffffffff",
  );
  assert.deepEqual(decodeRule(marked), {
    ...{ family: 4, table: 51820, priority: 32765, not: true, action: 1, mark: 51820 },
  });
  const suppressing = bytes(
    "02000000fe0000010000000008000f00fe00000008000e0000000000",
    "05001500000000000800060064000000",
  );
  assert.deepEqual(decodeRule(suppressing), {
    ...{ family: 4, table: 254, priority: 100, not: false, action: 1, suppressPrefixLength: 0 },
  });
});

Deno.test("prefixes and interfaces of a rule are read back as they were written", () => {
  const rule: RuleSpec = {
    ...{ family: 6 as const, table: 7, priority: 5, not: false, mark: 1, mask: 3 },
    ...{ source: "fd00::/64", destination: "2001:db8::/32" },
    ...{ inputDevice: "tun0", outputDevice: "eth0" },
  };
  const body = Uint8Array.from(encodeRule(rule).flatMap((part) => [...part]));
  assert.deepEqual(decodeRule(body), { ...rule, action: 1 });
});
