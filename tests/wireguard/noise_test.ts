import assert from "node:assert/strict";
import { AEAD, NONCE_ZERO } from "../../wireguard/aead.ts";
import { EMPTY } from "../../wireguard/bytes.ts";
import { HASH, KDF1, KDF2, KDF3 } from "../../wireguard/hash.ts";
import { nobleCrypto } from "../../wireguard/mod.ts";
import { NoiseInitiator, NoiseResponder } from "../../wireguard/noise.ts";
import { hex, type NoiseVector, readVector, toHex } from "./vectors.ts";

const { x25519, aead } = nobleCrypto;

/** Both sides of the vector, before their first message. */
function sides() {
  const vector = readVector<NoiseVector>("noise_ikpsk2_25519_chachapoly_blake2s");
  const identity = (key: string) => ({
    privateKey: hex(key),
    publicKey: x25519.publicKey(hex(key)),
  });
  const initiatorKey = identity(vector.init_static);
  const responderKey = identity(vector.resp_static);
  const prologue = hex(vector.init_prologue);
  return {
    vector,
    initiatorKey,
    responderKey,
    initiator: new NoiseInitiator(
      x25519,
      initiatorKey,
      responderKey.publicKey,
      hex(vector.init_ephemeral),
      prologue,
    ),
    responder: new NoiseResponder(x25519, responderKey, prologue),
    staticStatic: x25519.sharedSecret(initiatorKey.privateKey, responderKey.publicKey),
    presharedKey: hex(vector.init_psks[0]!),
  };
}

Deno.test("the published Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s vector: six ciphertexts and the hash", () => {
  const { vector, initiator, responder, initiatorKey, staticStatic, presharedKey } = sides();
  const [first, second, ...transport] = vector.messages.map((message) => ({
    payload: hex(message.payload),
    ciphertext: hex(message.ciphertext),
  }));

  const initiation = new Uint8Array(first!.ciphertext.length);
  assert(initiator.writeInitiation(staticStatic, first!.payload, initiation, 0));
  assert.equal(toHex(initiation), toHex(first!.ciphertext));
  assert.deepEqual(responder.readStatic(initiation, 0), initiatorKey.publicKey);
  const sealed = initiation.length - 80;
  assert.deepEqual(responder.readPayload(initiation, 80, sealed, staticStatic), first!.payload);

  const response = new Uint8Array(second!.ciphertext.length);
  const ephemeral = hex(vector.resp_ephemeral);
  assert(responder.writeResponse(ephemeral, presharedKey, second!.payload, response, 0));
  assert.equal(toHex(response), toHex(second!.ciphertext));
  assert.deepEqual(
    initiator.readResponse(response, 0, response.length, presharedKey),
    second!.payload,
  );
  assert.equal(toHex(initiator.handshakeHash), vector.handshake_hash);
  assert.equal(toHex(responder.handshakeHash), vector.handshake_hash);

  const a = initiator.split();
  const b = responder.split();
  assert.deepEqual([a.send, a.receive], [b.receive, b.send]);
  const keys = [a.send, b.send].map((key) => aead.importKey(key));
  transport.forEach(({ payload, ciphertext }, i) => {
    const buffer = new Uint8Array(payload.length + 16);
    buffer.set(payload);
    keys[i % 2]!.seal(0, i >> 1, buffer, 0, payload.length);
    assert.equal(toHex(buffer), toHex(ciphertext));
  });
});

Deno.test("a forged response leaves the handshake ready for the genuine one", () => {
  const { vector, initiator, responder, staticStatic, presharedKey } = sides();
  const initiation = new Uint8Array(80 + 28);
  initiator.writeInitiation(staticStatic, new Uint8Array(12), initiation, 0);
  responder.readStatic(initiation, 0);
  responder.readPayload(initiation, 80, 28, staticStatic);
  const response = new Uint8Array(48);
  responder.writeResponse(
    hex(vector.resp_ephemeral),
    presharedKey,
    new Uint8Array(0),
    response,
    0,
  );
  for (const position of [0, 31, 32, 47]) {
    const forged = response.slice();
    forged[position]! ^= 1;
    assert.equal(initiator.readResponse(forged, 0, 48, presharedKey), undefined);
  }
  assert.equal(initiator.readResponse(response, 0, 48, new Uint8Array(32)), undefined);
  assert.deepEqual(initiator.readResponse(response, 0, 48, presharedKey), new Uint8Array(0));
});

/**
 * Whitepaper §5.4.2 and §5.4.3 without a single check, by somebody who knows the shared secrets
 * because they are zero. Returns C and H behind the first message, and the message.
 */
function recklessInitiation(
  responderPublic: Uint8Array,
  initiatorPublic: Uint8Array,
  ephemeral: Uint8Array,
  es: Uint8Array,
  ss: Uint8Array,
) {
  const ascii = new TextEncoder();
  let c = HASH(ascii.encode("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"), EMPTY);
  let h = HASH(HASH(c, ascii.encode("WireGuard v1 zx2c4 Jason@zx2c4.com")), responderPublic);
  h = HASH(h, ephemeral);
  let k: Uint8Array;
  [c, k] = KDF2(KDF1(c, ephemeral), es);
  const sealedStatic = AEAD(k, NONCE_ZERO, initiatorPublic, h);
  h = HASH(h, sealedStatic);
  [c, k] = KDF2(c, ss);
  const sealedTimestamp = AEAD(k, NONCE_ZERO, new Uint8Array(12), h);
  h = HASH(h, sealedTimestamp);
  return { c, h, message: Uint8Array.from([...ephemeral, ...sealedStatic, ...sealedTimestamp]) };
}

function recklessResponse(c: Uint8Array, h: Uint8Array, ephemeral: Uint8Array, psk: Uint8Array) {
  h = HASH(h, ephemeral);
  const zero = new Uint8Array(32);
  const [, t, k] = KDF3(KDF1(KDF1(KDF1(c, ephemeral), zero), zero), psk);
  return Uint8Array.from([...ephemeral, ...AEAD(k, NONCE_ZERO, EMPTY, HASH(h, t))]);
}

const ZERO = new Uint8Array(32);
const PSK = new Uint8Array(32).fill(4);

/** The points of order 1 and 2: 1 and 0. */
const LOW_ORDER = [Uint8Array.of(1, ...ZERO.subarray(1)), ZERO];

Deno.test("the formulas written down twice agree", () => {
  const { initiatorKey, responderKey, staticStatic } = sides();
  const ephemeralPrivate = new Uint8Array(32).fill(7);
  const initiator = new NoiseInitiator(
    x25519,
    initiatorKey,
    responderKey.publicKey,
    ephemeralPrivate,
  );
  const message = new Uint8Array(108);
  initiator.writeInitiation(staticStatic, new Uint8Array(12), message, 0);
  const twin = recklessInitiation(
    responderKey.publicKey,
    initiatorKey.publicKey,
    x25519.publicKey(ephemeralPrivate),
    x25519.sharedSecret(ephemeralPrivate, responderKey.publicKey),
    staticStatic,
  );
  assert.equal(toHex(message), toHex(twin.message));
  assert.equal(toHex(initiator.handshakeHash), toHex(twin.h));
});

Deno.test("an initiation that is right in all but its all-zero shared secrets is refused", () => {
  const { initiatorKey, responderKey, staticStatic } = sides();
  for (const ephemeral of LOW_ORDER) {
    const { message } = recklessInitiation(
      responderKey.publicKey,
      initiatorKey.publicKey,
      ephemeral,
      ZERO,
      staticStatic,
    );
    assert.equal(new NoiseResponder(x25519, responderKey).readStatic(message, 0), undefined);
  }
  for (const lowStatic of LOW_ORDER) {
    const ephemeralPrivate = new Uint8Array(32).fill(7);
    const { message } = recklessInitiation(
      responderKey.publicKey,
      lowStatic,
      x25519.publicKey(ephemeralPrivate),
      x25519.sharedSecret(ephemeralPrivate, responderKey.publicKey),
      ZERO,
    );
    const responder = new NoiseResponder(x25519, responderKey);
    assert.deepEqual(responder.readStatic(message, 0), lowStatic);
    const shared = x25519.sharedSecret(responderKey.privateKey, lowStatic);
    assert.equal(responder.readPayload(message, 80, 28, shared), undefined);
  }
});

Deno.test("a response that is right in all but its all-zero shared secrets is refused", () => {
  const { initiatorKey, responderKey, staticStatic } = sides();
  for (const ephemeral of LOW_ORDER) {
    const own = new Uint8Array(32).fill(7);
    const initiator = new NoiseInitiator(x25519, initiatorKey, responderKey.publicKey, own);
    initiator.writeInitiation(staticStatic, new Uint8Array(12), new Uint8Array(108), 0);
    const { c, h } = recklessInitiation(
      responderKey.publicKey,
      initiatorKey.publicKey,
      x25519.publicKey(own),
      x25519.sharedSecret(own, responderKey.publicKey),
      staticStatic,
    );
    const response = recklessResponse(c, h, ephemeral, PSK);
    assert.equal(initiator.readResponse(response, 0, response.length, PSK), undefined);
  }
});

Deno.test("a responder does not answer when a shared secret of its own is zero", () => {
  const { vector, responderKey } = sides();
  const zero = { ...x25519, sharedSecret: () => new Uint8Array(32) };
  const responder = new NoiseResponder(zero, responderKey);
  const ephemeral = hex(vector.resp_ephemeral);
  assert.equal(responder.writeResponse(ephemeral, PSK, EMPTY, new Uint8Array(48), 0), false);
});

Deno.test("a static key of low order never gets a message", () => {
  const { initiatorKey } = sides();
  const low = ZERO;
  const initiator = new NoiseInitiator(x25519, initiatorKey, low, new Uint8Array(32).fill(7));
  const staticStatic = x25519.sharedSecret(initiatorKey.privateKey, low);
  assert.deepEqual(staticStatic, new Uint8Array(32));
  assert.equal(
    initiator.writeInitiation(staticStatic, new Uint8Array(12), new Uint8Array(108), 0),
    false,
  );
});
