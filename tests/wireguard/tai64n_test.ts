import assert from "node:assert/strict";
import fc from "fast-check";
import { isAfter, TimestampSource } from "../../wireguard/tai64n.ts";
import { toHex } from "./vectors.ts";

Deno.test("the label is 2^62 + 10 + Unix seconds, nanoseconds whitened to 2^24", () => {
  assert.equal(toHex(new TimestampSource().next(0)), "400000000000000a00000000");
  // 0x1000000 ns are 16.777216 ms.
  assert.equal(toHex(new TimestampSource().next(1_000_016)), "40000000000003f200000000");
  assert.equal(toHex(new TimestampSource().next(1_000_017)), "40000000000003f201000000");
  assert.equal(toHex(new TimestampSource().next(1_000_999.999)), "40000000000003f23b000000");
  // 2106 and later: more than 32 bits of seconds.
  assert.equal(toHex(new TimestampSource().next(2 ** 32 * 1000)), "400000010000000a00000000");
});

Deno.test("timestamps strictly increase whatever the wall clock does", () => {
  const wall = fc.oneof(
    fc.double({ min: 0, max: 4e12, noNaN: true }),
    fc.double({ min: 1.7e12, max: 1.7e12 + 100, noNaN: true }),
    fc.constantFrom(-1e12, NaN, 1.7e12, Infinity),
  );
  fc.assert(fc.property(fc.array(wall, { minLength: 2, maxLength: 80 }), (clocks) => {
    const source = new TimestampSource();
    let last = new Uint8Array(0);
    for (const clock of clocks) {
      const next = source.next(clock);
      assert(isAfter(next, last));
      assert(!isAfter(last, next));
      assert(!isAfter(next, next));
      assert.equal(next[9]! | next[10]! | next[11]!, 0, "whitened");
      assert(new DataView(next.buffer).getUint32(8) < 1e9);
      last = next as Uint8Array<ArrayBuffer>;
    }
  }));
});
