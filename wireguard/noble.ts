/**
 * The reference cryptography: everything from `@noble`, plain TypeScript on every platform. Faster
 * implementations of the same interfaces are tested against this one.
 *
 * @module
 */

import { chacha20poly1305 } from "npm:@noble/ciphers@2.4.0/chacha.js";
import { x25519 } from "npm:@noble/curves@2.4.0/ed25519.js";
import type { AeadKey, Crypto } from "./crypto.ts";
import { writeU32 } from "./bytes.ts";
import { checkKey } from "./keys.ts";
import { KEY_SIZE, TAG_SIZE } from "./messages.ts";

/** X25519 and ChaCha20-Poly1305 from `@noble/curves` and `@noble/ciphers`. */
export const nobleCrypto: Crypto = {
  x25519: {
    publicKey: (privateKey) => x25519.getPublicKey(privateKey),
    sharedSecret(privateKey, publicKey) {
      try {
        return x25519.getSharedSecret(privateKey, publicKey);
      } catch {
        // noble refuses points of low order by an exception (RFC 7748 §6.1); the interface says zero.
        return new Uint8Array(KEY_SIZE);
      }
    },
  },
  aead: {
    importKey: (key) => new NobleAeadKey(key),
  },
};

/** The public key that belongs to a private one. @throws {RangeError} unless it has 32 bytes. */
export function derivePublicKey(privateKey: Uint8Array): Uint8Array {
  checkKey("private key", privateKey);
  return nobleCrypto.x25519.publicKey(privateKey);
}

class NobleAeadKey implements AeadKey {
  readonly #key: Uint8Array;
  readonly #nonce = new Uint8Array(12);

  constructor(key: Uint8Array) {
    this.#key = key.slice();
  }

  seal(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void {
    this.#setNonce(counterHigh, counterLow);
    chacha20poly1305(this.#key, this.#nonce).encrypt(
      buffer.subarray(offset, offset + length),
      buffer.subarray(offset, offset + length + TAG_SIZE),
    );
  }

  open(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    if (length < TAG_SIZE) return false;
    this.#setNonce(counterHigh, counterLow);
    try {
      chacha20poly1305(this.#key, this.#nonce).decrypt(
        buffer.subarray(offset, offset + length),
        buffer.subarray(offset, offset + length - TAG_SIZE),
      );
      return true;
    } catch {
      return false; // a wrong tag
    }
  }

  destroy(): void {
    this.#key.fill(0);
  }

  /** Whitepaper §5.4.6: 32 bits of zeros, then the 64-bit little-endian counter. */
  #setNonce(high: number, low: number): void {
    writeU32(this.#nonce, 4, low);
    writeU32(this.#nonce, 8, high);
  }
}
