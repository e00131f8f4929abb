import assert from "node:assert/strict";
import { HalfSipHash } from "../../netstack/siphash.ts";
import { Random } from "../sim/random.ts";

function hashOf(seed: number): (...words: number[]) => number {
  const random = new Random(seed);
  const hash = new HalfSipHash((out) => random.fill(out));
  return (...words) => {
    hash.begin();
    for (const word of words) hash.word(word);
    return hash.end();
  };
}

Deno.test("the hash depends on the key, on every word and on their order", () => {
  const hash = hashOf(1);
  assert.equal(hash(1, 2, 3), hash(1, 2, 3));
  assert.notEqual(hash(1, 2, 3), hash(3, 2, 1));
  assert.notEqual(hash(1, 2, 3), hashOf(2)(1, 2, 3));
});

Deno.test("neighbouring keys spread: each output bit flips about half the time", () => {
  const hash = hashOf(3);
  const flips = new Array(31).fill(0);
  for (let i = 0; i < 2000; i++) {
    const difference = hash(i, 7) ^ hash(i ^ 1 << i % 32, 7);
    for (let bit = 0; bit < 31; bit++) flips[bit] += difference >> bit & 1;
  }
  for (const count of flips) assert.ok(count > 850 && count < 1150, `${flips}`);
});

Deno.test("bytes are hashed as their words", () => {
  const random = new Random(1);
  const hash = new HalfSipHash((out) => random.fill(out));
  hash.begin();
  hash.bytes(Uint8Array.of(9, 0x80, 2, 3, 4, 5, 6, 7, 8), 1, 8);
  const bytes = hash.end();
  hash.begin();
  hash.word(0x80020304 | 0);
  hash.word(0x05060708);
  assert.equal(hash.end(), bytes);
});
