import assert from "node:assert/strict";
import fc from "fast-check";
import { chooseCrypto, nodeCrypto } from "../../../proxy/arena/crypto.ts";
import { hex, readVector, type X25519Case } from "../../wireguard/vectors.ts";
import { nobleCrypto } from "../../../wireguard/mod.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });

Deno.test("node:crypto seals exactly what @noble seals, at any offset and counter", () => {
  fc.assert(
    fc.property(
      key,
      u32,
      u32,
      fc.uint8Array({ maxLength: 1500 }),
      fc.nat(40),
      (key, high, low, plaintext, offset) => {
        const [ours, theirs] = [nodeCrypto, nobleCrypto].map((crypto) => {
          const buffer = new Uint8Array(offset + plaintext.length + 16 + 8).fill(0xa5);
          buffer.set(plaintext, offset);
          crypto.aead.importKey(key).seal(high, low, buffer, offset, plaintext.length);
          return buffer;
        });
        assert.deepEqual(ours, theirs);
        const opened = ours!.slice();
        assert.ok(
          nodeCrypto.aead.importKey(key).open(high, low, opened, offset, plaintext.length + 16),
        );
        assert.deepEqual(opened.subarray(offset, offset + plaintext.length), plaintext);
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("a changed bit, another counter, another key or short data does not open", () => {
  const sealer = nodeCrypto.aead.importKey(new Uint8Array(32).fill(1));
  const sealed = new Uint8Array(64 + 16);
  sealer.seal(1, 2, sealed, 0, 64);
  for (let bit = 0; bit < sealed.length * 8; bit += 7) {
    const changed = sealed.slice();
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(sealer.open(1, 2, changed, 0, changed.length), false);
  }
  assert.equal(sealer.open(1, 3, sealed.slice(), 0, sealed.length), false);
  assert.equal(sealer.open(2, 2, sealed.slice(), 0, sealed.length), false);
  for (let length = 0; length < 16; length++) {
    assert.equal(sealer.open(1, 2, sealed.slice(), 0, length), false);
  }
  const other = nodeCrypto.aead.importKey(new Uint8Array(32).fill(2));
  assert.equal(other.open(1, 2, sealed.slice(), 0, sealed.length), false);
  assert.equal(sealer.open(1, 2, sealed.slice(), 0, sealed.length), true);
});

Deno.test("X25519 of node:crypto and of @noble agree, unclamped private keys included", () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      const publicA = nodeCrypto.x25519.publicKey(a);
      const publicB = nodeCrypto.x25519.publicKey(b);
      assert.deepEqual(publicA, nobleCrypto.x25519.publicKey(a));
      const secret = nodeCrypto.x25519.sharedSecret(a, publicB);
      assert.deepEqual(secret, nobleCrypto.x25519.sharedSecret(a, publicB));
      assert.deepEqual(secret, nodeCrypto.x25519.sharedSecret(b, publicA));
    }),
    { numRuns: 30 },
  );
});

Deno.test("a point of low order gives zero from both", () => {
  const privateKey = new Uint8Array(32).fill(7);
  const one = new Uint8Array(32);
  one[0] = 1;
  // The point of order 8 of RFC 7748's curve, and a non-canonical form of zero (p).
  const order8 = Uint8Array.fromHex(
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  );
  const p = new Uint8Array(32).fill(0xff);
  p[0] = 0xed;
  p[31] = 0x7f;
  for (const point of [new Uint8Array(32), one, order8, p]) {
    assert.deepEqual(nodeCrypto.x25519.sharedSecret(privateKey, point), new Uint8Array(32));
    assert.deepEqual(nobleCrypto.x25519.sharedSecret(privateKey, point), new Uint8Array(32));
  }
});

Deno.test("X25519 of node:crypto passes Wycheproof: 518 cases, 31 of them with a shared secret of zero", () => {
  const { cases } = readVector<{ cases: X25519Case[] }>("wycheproof_x25519");
  let zero = 0;
  for (const test of cases) {
    const shared = nodeCrypto.x25519.sharedSecret(hex(test.private), hex(test.public));
    assert.deepEqual(shared, hex(test.shared), `case ${test.tcId}`);
    if (shared.every((byte) => byte === 0)) zero++;
  }
  assert.deepEqual([cases.length, zero], [518, 31]);
});

Deno.test("--crypto: noble is plain TypeScript, native is node:crypto, auto is left to the engine", async () => {
  assert.equal(await chooseCrypto("noble"), nobleCrypto);
  assert.equal(await chooseCrypto("native"), nodeCrypto);
  assert.equal(await chooseCrypto("auto"), undefined);
});
