/**
 * Authenticated encryption with associated data, for handshake and cookie messages. These are rare:
 * they allocate, the transport's {@link import("./crypto.ts").AeadKey} does not.
 *
 * @module
 */

import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js";

/** AEAD(key, 0, plaintext, additional): ChaCha20-Poly1305 of RFC 8439, nonce zero. */
export function AEAD(
  key: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): Uint8Array {
  return chacha20poly1305(key, NONCE_ZERO, additional).encrypt(plaintext);
}

/** Opens what {@link AEAD} sealed. @returns undefined if the tag is wrong. */
export function openAEAD(
  key: Uint8Array,
  ciphertext: Uint8Array,
  additional: Uint8Array,
): Uint8Array | undefined {
  return decrypted(chacha20poly1305(key, NONCE_ZERO, additional), ciphertext);
}

/** XAEAD(key, nonce, plaintext, additional): XChaCha20-Poly1305, nonce of 24 bytes. */
export function XAEAD(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): Uint8Array {
  return xchacha20poly1305(key, nonce, additional).encrypt(plaintext);
}

/** Opens what {@link XAEAD} sealed. @returns undefined if the tag is wrong. */
export function openXAEAD(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  additional: Uint8Array,
): Uint8Array | undefined {
  return decrypted(xchacha20poly1305(key, nonce, additional), ciphertext);
}

const NONCE_ZERO = new Uint8Array(12);

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
