import assert from "node:assert/strict";
import { useWideArithmetic } from "../../deploy/wide_arithmetic.ts";

/** Sections of a module, each of less than 128 bytes. */
function module(...sections: [id: number, ...body: number[]][]): Uint8Array {
  return Uint8Array.of(
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...sections.flatMap(([id, ...body]) => [id, body.length, ...body]),
  );
}

function text(text: string): number[] {
  return [text.length, ...new TextEncoder().encode(text)];
}

const I64 = 0x7e;
const TYPES: [number, ...number[]] = [1, 2, 0x60, 2, I64, I64, 1, I64, 0x60, 0, 1, I64];
const imports = (from: string): [number, ...number[]] =>
  [
    ...[2, 3],
    ...[...text(from), ...text("mulWide"), 0, 0],
    ...[...text("env"), ...text("memory"), 2, 1, 1, 2],
    ...[...text(from), ...text("high"), 0, 1],
  ] as [number, ...number[]];

Deno.test("calls of the imports become instructions, and what is exported keeps its function", () => {
  const made = useWideArithmetic(module(
    TYPES,
    imports("arithmetic"),
    [3, 2, 0, 0],
    [7, 1, ...text("upper"), 0, 3],
    [
      ...[10, 2],
      // A product's halves added; then a function that calls the one before it.
      ...[11, 0, 0x20, 0, 0x20, 1, 0x10, 0, 0x10, 1, 0x7c, 0x0b],
      ...[8, 0, 0x20, 1, 0x20, 0, 0x10, 2, 0x0b],
    ] as [number, ...number[]],
  ));
  assert.deepEqual(
    made,
    module(
      TYPES,
      [2, 1, ...text("env"), ...text("memory"), 2, 1, 1, 2],
      [3, 2, 0, 0],
      [7, 1, ...text("upper"), 0, 1],
      [
        ...[10, 2],
        ...[15, 1, 1, I64, 0x20, 0, 0x20, 1, 0xfc, 0x16, 0x21, 2, 0x20, 2, 0x7c, 0x0b],
        ...[8, 0, 0x20, 1, 0x20, 0, 0x10, 0, 0x0b],
      ] as [number, ...number[]],
    ),
  );
});

Deno.test("what the compiler has never written is refused", () => {
  assert.throws(() => useWideArithmetic(module(TYPES, imports("elsewhere"))), {
    message: "an import of elsewhere.mulWide",
  });
  const code: [number, ...number[]] = [10, 1, 3, 0, 0x06, 0x0b];
  assert.throws(() => useWideArithmetic(module(TYPES, [3, 1, 0], code)), {
    message: "an instruction 0x6",
  });
});
