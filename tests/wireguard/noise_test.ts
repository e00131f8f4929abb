import assert from "node:assert/strict";
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

Deno.test("an ephemeral key of low order aborts the handshake on either side", () => {
  const { initiator, responder, staticStatic, presharedKey } = sides();
  for (const low of [0, 1]) { // the points of order 2 and 1
    const ephemeral = new Uint8Array(108);
    ephemeral[0] = low;
    assert.equal(responder.readStatic(ephemeral, 0), undefined);
    initiator.writeInitiation(staticStatic, new Uint8Array(12), new Uint8Array(108), 0);
    assert.equal(initiator.readResponse(ephemeral, 0, 48, presharedKey), undefined);
  }
});

Deno.test("a static key of low order never gets a message", () => {
  const { initiatorKey } = sides();
  const low = new Uint8Array(32);
  const initiator = new NoiseInitiator(x25519, initiatorKey, low, new Uint8Array(32).fill(7));
  const staticStatic = x25519.sharedSecret(initiatorKey.privateKey, low);
  assert.deepEqual(staticStatic, new Uint8Array(32));
  assert.equal(
    initiator.writeInitiation(staticStatic, new Uint8Array(12), new Uint8Array(108), 0),
    false,
  );
});
