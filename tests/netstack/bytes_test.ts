import assert from "node:assert/strict";
import { copyBytes } from "../../netstack/bytes.ts";
import { Random } from "../sim/random.ts";

/** What `copyBytes` does, plainly. */
function plainCopy(
  from: Uint8Array,
  fromOffset: number,
  into: Uint8Array,
  intoOffset: number,
  length: number,
): void {
  const bytes = from.slice(fromOffset, fromOffset + length);
  bytes.forEach((byte, i) => into[intoOffset + i] = byte);
}

Deno.test("a copy equals its plain twin at every length and alignment, and leaves what is around it", () => {
  const from = new Random(1).bytes(400);
  const around = new Random(2).bytes(400);
  for (let offset = 0; offset < 10; offset++) {
    for (let length = 0; length <= 210; length++) {
      for (const to of [0, 3, 8 + offset]) {
        const [copied, expected] = [around.slice(), around.slice()];
        copyBytes(from, offset, copied, to, length);
        plainCopy(from, offset, expected, to, length);
        assert.deepEqual(copied, expected, `${length} bytes from ${offset} to ${to}`);
      }
    }
  }
});

Deno.test("a copy within one buffer may overlap", () => {
  for (const [offset, to] of [[5, 9], [9, 5], [7, 7]] as const) {
    for (const length of [0, 1, 8, 64, 97, 150]) {
      const copied = new Random(3).bytes(200);
      const expected = copied.slice();
      copyBytes(copied, offset, copied, to, length);
      plainCopy(expected, offset, expected, to, length);
      assert.deepEqual(copied, expected, `${length} bytes from ${offset} to ${to}`);
    }
  }
});
