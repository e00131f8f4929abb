import assert from "node:assert/strict";
import { Kernels } from "../../ffi/mod.ts";
import { fold, sum } from "../../netstack/checksum.ts";
import { Random } from "../sim/random.ts";

const SIZE = 1 << 18;
const kernels = new Kernels(SIZE + 64);
const start = kernels.allocate(SIZE, 64);

Deno.test("every length up to 300 at every alignment sums as the plain twin does", () => {
  const random = new Random(1);
  fill(random, "random", 400);
  for (let length = 0; length <= 300; length++) {
    for (let alignment = 0; alignment < 16; alignment++) {
      compare(start + alignment, length, random.below(2 ** 29));
    }
  }
});

Deno.test("random lengths up to 65,535, alignments, sums so far and data sum as the plain twin does", () => {
  const random = new Random(2);
  for (const kind of ["random", "ones", "mostly ones", "zeros", "mostly zeros"] as const) {
    fill(random, kind, 65_535 + 64);
    for (let i = 0; i < 200; i++) {
      const length = i < 8 ? 65_535 - i : random.below(random.chance(0.5) ? 2000 : 65_536);
      const initial = random.chance(0.2) ? 0 : random.below(2 ** 29);
      compare(start + random.below(64), length, initial);
    }
  }
});

Deno.test("only zeros sum to zero: 0xffff stays 0xffff", () => {
  for (const length of [0, 2, 15, 16, 40, 1420, 65_535]) {
    kernels.bytes.fill(0, start, start + length);
    assert.equal(kernels.sum(kernels.bytes, start, length, 0), 0);
    kernels.bytes.fill(0xff, start, start + length);
    if (length > 0 && length % 2 === 0) {
      assert.equal(kernels.sum(kernels.bytes, start, length, 0), 0xffff);
    }
  }
});

Deno.test("a buffer longer than the scratch region sums in parts", () => {
  const random = new Random(3);
  fill(random, "random", SIZE);
  for (const length of [65_536, 65_537, 131_072, 200_001]) compare(start + 1, length, 0xffff);
});

Deno.test("bytes outside of the buffer are the caller's mistake", () => {
  const { bytes } = kernels;
  for (const [offset, length] of [[-1, 4], [bytes.length - 3, 4], [0, -1], [NaN, 4]] as const) {
    assert.throws(() => kernels.sum(bytes, offset, length, 0), RangeError);
    assert.throws(() => kernels.sum(new Uint8Array(bytes.length), offset, length, 0), RangeError);
  }
});

/** In the arena and in a buffer elsewhere, against `netstack/checksum.ts`. */
function compare(offset: number, length: number, initial: number): void {
  const { bytes } = kernels;
  const label = `${length} bytes at ${offset}, initial ${initial}`;
  const expected = fold(sum(bytes, offset, length, initial));
  const elsewhere = bytes.slice(offset - 3, offset + length);
  for (const [buffer, at] of [[bytes, offset], [elsewhere, 3]] as const) {
    const unfolded = kernels.sum(buffer, at, length, initial);
    assert.ok(unfolded >= 0 && unfolded < 2 ** 31, label);
    assert.equal(fold(unfolded), expected, label);
  }
}

function fill(
  random: Random,
  kind: "random" | "ones" | "mostly ones" | "zeros" | "mostly zeros",
  length: number,
): void {
  const rare = random.bytes(length);
  for (let i = 0; i < length; i++) {
    const other = kind === "random" || kind.startsWith("mostly") && random.chance(0.05);
    kernels.bytes[start + i] = other ? rare[i]! : kind.endsWith("ones") ? 0xff : 0;
  }
}
