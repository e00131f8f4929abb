import assert from "node:assert/strict";
import fc from "fast-check";
import { blake2s as noble } from "npm:@noble/hashes@2.4.0/blake2.js";
import { hmac } from "npm:@noble/hashes@2.4.0/hmac.js";
import { AEAD, openAEAD, openXAEAD, XAEAD } from "../../wireguard/aead.ts";
import { Blake2s } from "../../wireguard/blake2s.ts";
import { isZero } from "../../wireguard/bytes.ts";
import { HASH, KDF1, KDF2, KDF3, MAC } from "../../wireguard/hash.ts";
import {
  clampPrivateKey,
  derivePublicKey,
  generatePrivateKey,
  nobleCrypto,
} from "../../wireguard/mod.ts";
import { seededRandom } from "./pair.ts";
import { type AeadCase, hex, readVector, toHex, type X25519Case } from "./vectors.ts";

const ascii = new TextEncoder();
const key32 = new Uint8Array(32);

Deno.test("Wycheproof X25519: 518 cases, 31 of them with a shared secret of zero", () => {
  const { cases } = readVector<{ cases: X25519Case[] }>("wycheproof_x25519");
  assert.equal(cases.length, 518);
  let zero = 0;
  for (const test of cases) {
    const shared = nobleCrypto.x25519.sharedSecret(hex(test.private), hex(test.public));
    assert.equal(toHex(shared), test.shared, `case ${test.tcId}: ${test.comment}`);
    if (isZero(shared)) zero++;
  }
  assert.equal(zero, 31);
});

for (
  const { name, count, nonceSize, seal, open } of [
    {
      name: "wycheproof_chacha20_poly1305",
      count: 325,
      nonceSize: 12,
      seal: AEAD,
      open: openAEAD,
    },
    {
      name: "wycheproof_xchacha20_poly1305",
      count: 315,
      nonceSize: 24,
      seal: XAEAD,
      open: openXAEAD,
    },
  ]
) {
  Deno.test(`${name}: ${count} cases, nine of them with a nonce that must be refused`, () => {
    const { cases } = readVector<{ cases: AeadCase[] }>(name);
    assert.equal(cases.length, count);
    let refused = 0;
    for (const test of cases) {
      const [key, iv, aad, msg] = [hex(test.key), hex(test.iv), hex(test.aad), hex(test.msg)];
      const sealed = hex(test.ct + test.tag);
      const label = `case ${test.tcId}: ${test.comment}`;
      if (iv.length !== nonceSize) {
        assert.equal(test.result, "invalid", label);
        assert.throws(() => seal(key, iv, msg, aad), RangeError, label);
        assert.throws(() => open(key, iv, sealed, aad), RangeError, label);
        refused++;
      } else if (test.result === "valid") {
        assert.equal(toHex(seal(key, iv, msg, aad)), toHex(sealed), label);
        assert.equal(toHex(open(key, iv, sealed, aad)!), test.msg, label);
      } else {
        assert.equal(open(key, iv, sealed, aad), undefined, label);
      }
    }
    assert.equal(refused, 9);
  });
}

Deno.test("the transport AEAD in place is AEAD(key, 0³² ‖ counter, packet, ε) at any offset", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 32, maxLength: 32 }),
    fc.uint8Array({ maxLength: 200 }),
    fc.nat(7),
    fc.nat(0xffffffff),
    fc.nat(0xffffffff),
    (key, plain, offset, high, low) => {
      const nonce = new Uint8Array(12);
      new DataView(nonce.buffer).setUint32(4, low, true);
      new DataView(nonce.buffer).setUint32(8, high, true);
      const expected = AEAD(key, nonce, plain, new Uint8Array(0));
      const buffer = new Uint8Array(offset + plain.length + 16 + 5).fill(0xaa);
      buffer.set(plain, offset);
      const session = nobleCrypto.aead.importKey(key);
      session.seal(high, low, buffer, offset, plain.length);
      assert.deepEqual(buffer.slice(offset, -5), expected);
      assert(buffer.subarray(0, offset).every((byte) => byte === 0xaa));
      assert(buffer.subarray(-5).every((byte) => byte === 0xaa));
      const wrong = buffer.slice();
      wrong[offset + (low % expected.length)]! ^= 1 << (high & 7);
      assert.equal(session.open(high, low, wrong, offset, expected.length), false);
      assert.equal(session.open(high ^ 1, low, buffer.slice(), offset, expected.length), false);
      assert.equal(session.open(high, low, buffer, offset, expected.length), true);
      assert.deepEqual(buffer.slice(offset, offset + plain.length), plain);
    },
  ));
});

Deno.test("HASH, MAC and KDF agree with Python's hashlib and hmac", () => {
  const key = Uint8Array.from({ length: 32 }, (_, i) => i);
  const message = Uint8Array.from({ length: 116 }, (_, i) => i * 7);
  const mac1Key = HASH(ascii.encode("mac1----"), key);
  assert.equal(toHex(mac1Key), "4fb2527ac956001553dc1ad9b55171b7d9daa3de1cdbcd71451830170c7e6cac");
  assert.equal(toHex(MAC(mac1Key, message)), "03a55c329de13c8e850faad2618d1d34");
  const input = ascii.encode("input");
  const [t1, t2, t3] = [
    "87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040",
    "538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824",
    "9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9",
  ];
  assert.equal(toHex(KDF1(key, input)), t1);
  assert.deepEqual(KDF2(key, input).map(toHex), [t1, t2]);
  assert.deepEqual(KDF3(key, input).map(toHex), [t1, t2, t3]);
});

Deno.test("BLAKE2s is @noble/hashes's, whatever the key, the lengths and the pieces", () => {
  const hash = new Blake2s();
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 32 }),
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 }),
      fc.integer({ min: 1, max: 8 }),
      fc.nat(7),
      (key, pieces, words, offset) => {
        const twin = noble.create({ dkLen: 4 * words, ...(key.length > 0 && { key }) });
        hash.begin(4 * words, key);
        for (const piece of pieces) {
          twin.update(piece);
          const around = new Uint8Array(piece.length + 8).fill(0xaa);
          around.set(piece, offset);
          hash.update(around, offset, piece.length);
        }
        const out = new Uint8Array(40).fill(0xaa);
        hash.finish(out, offset);
        const expected = new Uint8Array(40).fill(0xaa);
        expected.set(twin.digest(), offset);
        assert.deepEqual(out, expected);
      },
    ),
    { numRuns: 2000 },
  );
  assert.throws(() => hash.begin(33, key32), RangeError);
  assert.throws(() => hash.begin(32, new Uint8Array(33)), RangeError);
});

Deno.test("KDF is @noble/hashes's HMAC, also of an empty input", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ maxLength: 64 }),
      (key, input) => {
        const t0 = hmac(noble, key, input);
        const t1 = hmac(noble, t0, Uint8Array.of(1));
        const t2 = hmac(noble, t0, Uint8Array.of(...t1, 2));
        const t3 = hmac(noble, t0, Uint8Array.of(...t2, 3));
        assert.deepEqual(KDF3(key, input), [t1, t2, t3]);
        assert.deepEqual(KDF2(key, input), [t1, t2]);
        assert.deepEqual(KDF1(key, input), t1);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("private keys are clamped as wg clamps them, and derive the same public key", () => {
  const raw = new Uint8Array(32).fill(0xff);
  const clamped = clampPrivateKey(raw.slice());
  assert.equal(clamped[0], 0xf8);
  assert.equal(clamped[31], 0x7f);
  assert.deepEqual(derivePublicKey(raw), derivePublicKey(clamped));
  const generated = generatePrivateKey(seededRandom(1));
  assert.deepEqual(clampPrivateKey(generated.slice()), generated);
  assert.throws(() => derivePublicKey(new Uint8Array(31)), RangeError);
});
