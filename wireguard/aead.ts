/**
 * Authenticated encryption with associated data, for handshake and cookie messages. These are rare:
 * they allocate, the transport's {@link import("./crypto.ts").AeadKey} does not.
 *
 * @module
 */

import { chacha20poly1305, xchacha20poly1305 } from "npm:@noble/ciphers@2.4.0/chacha.js";

/** What the whitepaper's AEAD(key, 0, …) stands for: every handshake key seals one message. */
export const NONCE_ZERO: Uint8Array = new Uint8Array(12);

/**
 * AEAD(key, nonce, plaintext, additional): ChaCha20-Poly1305 of RFC 8439.
 *
 * @throws {RangeError} unless the nonce has 12 bytes.
 */
export function AEAD(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): Uint8Array {
  checkNonce(nonce, 12);
  return chacha20poly1305(key, nonce, additional).encrypt(plaintext);
}

/** Opens what {@link AEAD} sealed. @returns undefined if the tag is wrong. */
export function openAEAD(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  additional: Uint8Array,
): Uint8Array | undefined {
  checkNonce(nonce, 12);
  return decrypted(chacha20poly1305(key, nonce, additional), ciphertext);
}

/**
 * XAEAD(key, nonce, plaintext, additional): XChaCha20-Poly1305.
 *
 * @throws {RangeError} unless the nonce has 24 bytes.
 */
export function XAEAD(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): Uint8Array {
  checkNonce(nonce, 24);
  return xchacha20poly1305(key, nonce, additional).encrypt(plaintext);
}

/** Opens what {@link XAEAD} sealed. @returns undefined if the tag is wrong. */
export function openXAEAD(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  additional: Uint8Array,
): Uint8Array | undefined {
  checkNonce(nonce, 24);
  return decrypted(xchacha20poly1305(key, nonce, additional), ciphertext);
}

/** noble reports a wrong tag by an exception; here it is an expected input. */
function decrypted(
  cipher: { decrypt(ciphertext: Uint8Array): Uint8Array },
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  try {
    return cipher.decrypt(ciphertext);
  } catch {
    return undefined;
  }
}

function checkNonce(nonce: Uint8Array, size: number): void {
  if (nonce.length !== size) throw new RangeError(`a nonce has ${size} bytes, got ${nonce.length}`);
}
