/**
 * The AEAD kernel against published vectors and against `@noble`. KERNEL_CASES=1000000 is how many
 * random cases to compare, instead of a few thousand; SEED which. `kernels_test.ts` runs them once more
 * with V8's flags for wide arithmetic, and WIDE_KERNELS.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { chacha20 } from "npm:@noble/ciphers@2.4.0/chacha.js";
import { Kernels } from "../../ffi/mod.ts";
import { type AeadParameters, instantiate, isWide } from "../../ffi/kernels/kernels.ts";
import { type Aead, nobleCrypto } from "../../wireguard/mod.ts";
import { Random } from "../sim/random.ts";
import { type AeadCase, hex, readVector, toHex } from "../wireguard/vectors.ts";

const TAG_SIZE = 16;
const MAX_LENGTH = 2048;
/** On each side of a text, to see that nothing is written there. */
const MARGIN = 32;
const SLOT_SIZE = MARGIN + 16 + MAX_LENGTH + TAG_SIZE + MARGIN;

/** Where {@link GeneralKernel} puts things. */
const ADDITIONAL = 1024;
const TEXT = 4096;

/** Where the paths through both kernels begin and end: two blocks, four, six, groups, a rest. */
const LENGTHS = [
  ...[
    0,
    1,
    15,
    16,
    17,
    48,
    63,
    64,
    65,
    80,
    191,
    192,
    193,
    207,
    208,
    319,
    320,
    321,
    447,
    448,
    449,
    460,
  ],
  ...[575, 576, 577, 703, 704, 705, 720, 959, 960, 961, 1087, 1088, 1089, 1420, 1424],
];

const kernels = new Kernels(1 << 17);
const slot = kernels.allocate(SLOT_SIZE, 64);
const noble: Aead = nobleCrypto.aead;
const ours: Aead = kernels.aead;

Deno.test("the kernels are those that the flags ask for", () => {
  assert.equal(isWide(), process.env.WIDE_KERNELS !== undefined && Deno.build.arch === "x86_64");
});

Deno.test("RFC 8439 §2.8.2 and appendix A.5", () => {
  const sunscreen =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, " +
    "sunscreen would be it.";
  const drafts =
    "Internet-Drafts are draft documents valid for a maximum of six months and may be " +
    "updated, replaced, or obsoleted by other documents at any time. It is inappropriate to use " +
    "Internet-Drafts as reference material or to cite them other than as /“work in progress./”";
  const kernel = new GeneralKernel();
  assert.match(
    kernel.seal(
      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
      "070000004041424344454647",
      "50515253c0c1c2c3c4c5c6c7",
      toHex(new TextEncoder().encode(sunscreen)),
    ),
    /^d31a8d34648e60db7b86afbc53ef7ec2.*1ae10b594f09e26a7e902ecbd0600691$/,
  );
  assert.match(
    kernel.seal(
      "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
      "000000000102030405060708",
      "f33388860000000000004e91",
      toHex(new TextEncoder().encode(drafts)),
    ),
    /^64a0861575861af460f062c79be643bd.*eead9d67890cbb22392336fea1851f38$/,
  );
});

Deno.test("Wycheproof: 316 cases with associated data and any nonce, valid and invalid", () => {
  const { cases } = readVector<{ cases: AeadCase[] }>("wycheproof_chacha20_poly1305");
  const kernel = new GeneralKernel();
  let count = 0;
  for (const { key, iv, aad, msg, ct, tag, result, ...test } of cases) {
    if (iv.length !== 24) continue; // the interface has no place for another size
    const label = `case ${test.tcId}: ${test.comment}`;
    if (result === "valid") assert.equal(kernel.seal(key, iv, aad, msg), ct + tag, label);
    assert.equal(kernel.open(key, iv, aad, ct + tag), result === "valid" ? msg : undefined, label);
    count++;
  }
  assert.equal(count, 316);
});

Deno.test("the tag is right when Poly1305's sum is next to p = 2^130 - 5", () => {
  // No vector and no random text gets there. Blocks are solved for, so that (c·r + lengths)·r ≡ sum.
  const p = 2n ** 130n - 5n;
  const lengths = 2n ** 128n + (16n << 64n);
  const key = new Uint8Array(32).fill(4);
  const aeadKey = ours.importKey(key);
  for (let sum = -6n; sum <= 6n; sum++) {
    let hits = 0;
    for (let counter = 0; hits < 20; counter++) {
      const nonce = new Uint8Array(12);
      nonce[4] = counter;
      const oneTime = chacha20(key, nonce, new Uint8Array(32));
      const r = number(oneTime.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
      const inverse = power(r, p - 2n, p);
      const block = mod((mod(sum * inverse, p) - lengths) * inverse - 2n ** 128n, p);
      if (block >= 2n ** 128n) continue; // no 16 bytes do it with this r
      const tag = mod(mod(sum, p) + number(oneTime.subarray(16)), 2n ** 128n);
      const sealed = new Uint8Array([...littleEndian(block), ...littleEndian(tag)]);
      const twin = sealed.slice();
      assert.ok(noble.importKey(key).open(0, counter, twin, 0, 32), `sum ${sum}`);
      assert.ok(aeadKey.open(0, counter, sealed, 0, 32), `sum ${sum}`);
      assertSame(sealed.subarray(0, 16), twin.subarray(0, 16));
      hits++;
    }
  }
});

Deno.test("every length up to 2,048 at every alignment seals as @noble does, and opens", () => {
  const random = new Random(1);
  for (let length = 0; length <= MAX_LENGTH; length++) {
    for (let alignment = 0; alignment < 16; alignment++) {
      compare(random, length, alignment, (length + alignment) % 16 === 0);
    }
  }
});

Deno.test("random keys, counters, lengths and texts seal as @noble does, and open", () => {
  const count = Number(process.env.KERNEL_CASES ?? 5000);
  const random = new Random(Number(process.env.SEED ?? 2));
  for (let i = 0; i < count; i++) {
    compare(random, random.below(MAX_LENGTH + 1), random.below(16), random.below(4) === 0);
  }
});

Deno.test("the longest data of another buffer is 65,536 bytes", () => {
  const buffer = Uint8Array.from({ length: 65_536 + TAG_SIZE + 3 }, (_, i) => i * 7);
  const expected = buffer.slice();
  const key = new Uint8Array(32).fill(5);
  noble.importKey(key).seal(0, 9, expected, 3, 65_536);
  ours.importKey(key).seal(0, 9, buffer, 3, 65_536);
  assertSame(buffer, expected);
  assert.ok(ours.importKey(key).open(0, 9, buffer, 3, 65_536 + TAG_SIZE));
  assert.ok(buffer.every((byte, i) => i >= 65_536 + 3 || byte === (i * 7 & 0xff)));
  const longer = new Uint8Array(65_537 + TAG_SIZE);
  assert.throws(() => ours.importKey(key).seal(0, 0, longer, 0, 65_537), RangeError);
  assert.throws(() => ours.importKey(key).open(0, 0, longer, 0, longer.length), RangeError);
});

Deno.test("data in the arena may be longer than any packet", () => {
  const big = new Kernels(300_000);
  const offset = big.allocate(250_016, 1);
  const key = new Uint8Array(32).fill(6);
  const expected = new Uint8Array(250_016);
  noble.importKey(key).seal(1, 2, expected, 0, 250_000);
  big.aead.importKey(key).seal(1, 2, big.bytes, offset, 250_000);
  assertSame(big.bytes.subarray(offset, offset + 250_016), expected);
});

Deno.test("a flipped bit of data or tag, another counter or another key does not open and leaves zeros", () => {
  const key = ours.importKey(new Uint8Array(32).fill(1));
  const other = ours.importKey(new Uint8Array(32).fill(2));
  const refuse = (from: typeof key, low: number, sealed: Uint8Array, bit: number) => {
    for (const buffer of [kernels.bytes, new Uint8Array(slot + sealed.length)]) {
      buffer.set(sealed, slot);
      if (bit >= 0) buffer[slot + (bit >> 3)]! ^= 1 << (bit & 7);
      assert.equal(from.open(3, low, buffer, slot, sealed.length), false, `bit ${bit}`);
      const text = buffer.subarray(slot, slot + sealed.length);
      assert.ok(text.every((byte) => byte === 0), `bit ${bit}`);
    }
  };
  for (const length of LENGTHS.filter((length) => length < 500)) {
    const sealed = new Uint8Array(length + TAG_SIZE).fill(0x5a);
    noble.importKey(new Uint8Array(32).fill(1)).seal(3, 4, sealed, 0, length);
    for (let bit = 0; bit < sealed.length * 8; bit++) refuse(key, 4, sealed, bit);
    refuse(key, 5, sealed, -1);
    refuse(other, 4, sealed, -1);
    kernels.bytes.set(sealed, slot);
    assert.equal(key.open(3, 4, kernels.bytes, slot, sealed.length), true);
  }
});

Deno.test("what is shorter than a tag does not open and stays as it was", () => {
  const key = ours.importKey(new Uint8Array(32));
  kernels.bytes.fill(7, slot, slot + TAG_SIZE);
  for (let length = 0; length < TAG_SIZE; length++) {
    assert.equal(key.open(0, 0, kernels.bytes, slot, length), false);
  }
  assert.ok(kernels.bytes.subarray(slot, slot + TAG_SIZE).every((byte) => byte === 7));
});

Deno.test("a call changes nothing of the whole memory but the data and its tag", () => {
  const key = ours.importKey(new Uint8Array(32).fill(3));
  const random = new Random(3);
  for (const length of LENGTHS) {
    for (let i = slot; i < kernels.bytes.length; i++) kernels.bytes[i] = random.below(256);
    const [start, end] = [slot + 1001, slot + 1001 + length + TAG_SIZE];
    const before = kernels.bytes.slice();
    const assertRestUnchanged = () => {
      assertSame(kernels.bytes.subarray(0, start), before.subarray(0, start));
      assertSame(kernels.bytes.subarray(end), before.subarray(end));
    };
    key.seal(0, length, kernels.bytes, start, length);
    assertRestUnchanged();
    assert.ok(key.open(0, length, kernels.bytes, start, length + TAG_SIZE));
    assertRestUnchanged();
    kernels.bytes[end - 1]! ^= 1;
    assert.ok(!key.open(0, length, kernels.bytes, start, length + TAG_SIZE));
    assertRestUnchanged();
  }
});

Deno.test("between calls the memory holds no part of a key, of Poly1305's key or of the key stream", () => {
  const fresh = new Kernels(4096);
  const key = Uint8Array.from({ length: 32 }, (_, i) => i * 37 + 11);
  const nonce = hex("000000000807060504030201");
  const keystream = chacha20(key, nonce, new Uint8Array(2048));
  const secrets = new Set([
    ...new Int32Array(key.slice().buffer),
    ...new Int32Array(keystream.slice().buffer),
  ]);
  // The limbs of a clamped r, too (RFC 8439 §2.5.1), and s = r + r / 4 of poly1305.ts.
  for (const [i, word] of new Int32Array(keystream.slice(0, 16).buffer).entries()) {
    const r = word & (i === 0 ? 0x0fffffff : 0x0ffffffc);
    secrets.add(r).add(r + (r >> 2));
  }
  const assertClean = (when: string) => {
    let word = 0;
    for (let i = 0; i < fresh.bytes.length; i++) {
      word = word >>> 8 | fresh.bytes[i]! << 24;
      if (secrets.has(word)) assert.fail(`${when}: a secret ends at ${i}`);
    }
  };
  // The search does find.
  fresh.bytes.set(key.subarray(4, 8), 4099);
  assert.throws(() => assertClean("planted"), /planted: a secret ends at 4102/);
  fresh.bytes.fill(0, 4099, 4103);
  const aeadKey = fresh.aead.importKey(key);
  assertClean("imported");
  for (const length of LENGTHS) {
    for (const buffer of [fresh.bytes, new Uint8Array(fresh.bytes.length)]) {
      const text = fresh.bytes.length - length - TAG_SIZE;
      for (let i = 0; i < length; i++) buffer[text + i] = i * i + 1;
      aeadKey.seal(0x01020304, 0x05060708, buffer, text, length);
      assertClean(`sealed ${length}`);
      assert.ok(aeadKey.open(0x01020304, 0x05060708, buffer, text, length + TAG_SIZE));
      assertClean(`opened ${length}`);
      buffer[text]! ^= 1;
      assert.ok(!aeadKey.open(0x01020304, 0x05060708, buffer, text, length + TAG_SIZE));
      assertClean(`refused ${length}`);
    }
  }
  aeadKey.destroy();
  assertClean("destroyed");
});

Deno.test("a key is a copy, and zero once destroyed", () => {
  const bytes = new Uint8Array(32).fill(9);
  const key = ours.importKey(bytes);
  bytes.fill(0);
  const seal = (key: ReturnType<Aead["importKey"]>) => {
    const buffer = new Uint8Array(40 + TAG_SIZE);
    key.seal(0, 1, buffer, 0, 40);
    return toHex(buffer);
  };
  assert.equal(seal(key), seal(noble.importKey(new Uint8Array(32).fill(9))));
  key.destroy();
  assert.equal(seal(key), seal(noble.importKey(new Uint8Array(32))));
});

Deno.test("a key of another size, and a place outside of buffer or arena, are the caller's mistakes", () => {
  for (const size of [0, 31, 33]) {
    assert.throws(() => ours.importKey(new Uint8Array(size)), RangeError);
  }
  const key = ours.importKey(new Uint8Array(32));
  const { bytes } = kernels;
  const before = bytes.slice();
  for (
    const [buffer, offset, length] of [
      [bytes, 0, 100],
      [bytes, slot - 1024, 16],
      [bytes, bytes.length - 100, 85],
      [bytes, -1, 16],
      [bytes, slot, -17],
      [bytes, NaN, 16],
      [bytes, slot, 2 ** 32],
      [new Uint8Array(100), 0, 85],
      [new Uint8Array(100), -1, 16],
    ] as const
  ) {
    assert.throws(() => key.seal(0, 0, buffer, offset, length), RangeError, `${offset} ${length}`);
    const sealed = length + TAG_SIZE;
    assert.throws(() => key.open(0, 0, buffer, offset, sealed), RangeError, `${offset} ${sealed}`);
  }
  assertSame(bytes, before);
});

/** What is below the AeadKey interface: with associated data, and with any nonce. All in hex. */
class GeneralKernel {
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #exports = instantiate(this.#memory);
  readonly #bytes = new Uint8Array(this.#memory.buffer);

  seal(key: string, nonce: string, additional: string, text: string): string {
    const length = text.length / 2;
    this.#exports.seal(...this.#parameters(key, nonce, additional, text, length));
    return toHex(this.#bytes.subarray(TEXT, TEXT + length + TAG_SIZE));
  }

  /** @returns undefined if the tag is wrong and the text was wiped. */
  open(key: string, nonce: string, additional: string, sealed: string): string | undefined {
    const length = sealed.length / 2 - TAG_SIZE;
    const right = this.#exports.open(...this.#parameters(key, nonce, additional, sealed, length));
    const text = this.#bytes.subarray(TEXT, TEXT + length);
    if (right === 0) assert.ok(text.every((byte) => byte === 0));
    return right === 0 ? undefined : toHex(text);
  }

  #parameters(
    key: string,
    nonce: string,
    additional: string,
    text: string,
    length: number,
  ): AeadParameters {
    this.#bytes.set(hex(additional), ADDITIONAL);
    this.#bytes.set(hex(text), TEXT);
    const words = [...new Uint32Array(hex(key + nonce).buffer)];
    return [...words, ADDITIONAL, additional.length / 2, TEXT, length] as AeadParameters;
  }
}

/** One case: sealed by both, in the arena or a buffer elsewhere, and opened again. */
function compare(
  random: Random,
  length: number,
  alignment: number,
  elsewhere: boolean,
) {
  const label = `length ${length}, alignment ${alignment}, ${elsewhere ? "elsewhere" : "arena"}`;
  const keyBytes = fill(random, new Uint8Array(32));
  const [high, low] = [random.uint32(), random.uint32()];
  const expected = fill(random, new Uint8Array(SLOT_SIZE));
  const plaintext = expected.slice();

  const buffer = elsewhere ? new Uint8Array(SLOT_SIZE) : kernels.bytes;
  const start = elsewhere ? 0 : slot;
  const at = MARGIN + alignment;
  buffer.set(expected, start);
  noble.importKey(keyBytes).seal(high, low, expected, at, length);
  const key = ours.importKey(keyBytes);
  key.seal(high, low, buffer, start + at, length);
  assertSame(buffer.subarray(start, start + SLOT_SIZE), expected, label);

  assert.ok(key.open(high, low, buffer, start + at, length + TAG_SIZE), label);
  plaintext.set(expected.subarray(at + length, at + length + TAG_SIZE), at + length);
  assertSame(buffer.subarray(start, start + SLOT_SIZE), plaintext, label);
}

/** Random bytes; one time in four all ones, one time in eight zeros, for carries. */
function fill(random: Random, bytes: Uint8Array): Uint8Array {
  const kind = random.below(8);
  if (kind < 3) return bytes.fill(kind === 0 ? 0 : 0xff);
  for (let i = 0; i < bytes.length; i += 4) {
    const word = random.uint32();
    bytes[i] = word;
    bytes[i + 1] = word >>> 8;
    bytes[i + 2] = word >>> 16;
    bytes[i + 3] = word >>> 24;
  }
  return bytes;
}

function assertSame(actual: Uint8Array, expected: Uint8Array, label?: string): void {
  if (Buffer.compare(actual, expected) !== 0) assert.equal(toHex(actual), toHex(expected), label);
}

function number(littleEndian: Uint8Array): bigint {
  return BigInt(`0x${toHex(littleEndian.slice().reverse())}`);
}

function littleEndian(number: bigint): Uint8Array {
  return hex(number.toString(16).padStart(32, "0")).reverse();
}

function mod(number: bigint, modulus: bigint): bigint {
  return (number % modulus + modulus) % modulus;
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (; exponent > 0n; exponent >>= 1n, base = base * base % modulus) {
    if (exponent & 1n) result = result * base % modulus;
  }
  return result;
}
