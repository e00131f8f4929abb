/**
 * The default cryptography: X25519 and the transport's ChaCha20-Poly1305 from `node:crypto`, several
 * times as fast as `@noble`'s, which is its twin in the tests and the fallback.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
} from "node:crypto";
import type { AeadKey, Crypto } from "../../wireguard/mod.ts";

const CIPHER = "chacha20-poly1305";
const KEY_SIZE = 32;
const TAG_SIZE = 16;
const TAG_OPTIONS = { authTagLength: TAG_SIZE };

// What stands before the 32 bytes of a key in DER (RFC 8410 §7 and §4).
const PKCS8_HEADER = Uint8Array.fromHex("302e020100300506032b656e04220420");
const SPKI_HEADER = Uint8Array.fromHex("302a300506032b656e032100");

/** X25519 and ChaCha20-Poly1305 from `node:crypto`. */
export const nodeCrypto: Crypto = {
  x25519: {
    publicKey(privateKey) {
      const spki = createPublicKey(importPrivateKey(privateKey))
        .export({ format: "der", type: "spki" });
      return new Uint8Array(spki.subarray(SPKI_HEADER.length));
    },
    sharedSecret(privateKey, publicKey) {
      try {
        return new Uint8Array(diffieHellman({
          privateKey: importPrivateKey(privateKey),
          publicKey: createPublicKey({
            key: der(SPKI_HEADER, publicKey),
            format: "der",
            type: "spki",
          }),
        }));
      } catch {
        // OpenSSL refuses points of low order (RFC 7748 §6.1); the interface says zero.
        return new Uint8Array(KEY_SIZE);
      }
    },
  },
  aead: { importKey: (key) => new NodeAeadKey(key) },
};

/** What `--crypto` may ask for. */
export type CryptoChoice = "auto" | "native" | "noble";

/** @returns undefined for `auto`: the engine then takes the fastest. */
export async function chooseCrypto(choice: CryptoChoice): Promise<Crypto | undefined> {
  if (choice === "native") return nodeCrypto;
  return choice === "noble" ? (await import("../../wireguard/mod.ts")).nobleCrypto : undefined;
}

class NodeAeadKey implements AeadKey {
  readonly #key: Uint8Array;
  readonly #nonce = new Uint8Array(12);

  constructor(key: Uint8Array) {
    if (key.length !== KEY_SIZE) {
      throw new RangeError(`a key has ${KEY_SIZE} bytes, got ${key.length}`);
    }
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
    const cipher = createCipheriv(CIPHER, this.#key, this.#nonce, TAG_OPTIONS);
    // node:crypto has no way to encrypt in place.
    if (length > 0) buffer.set(cipher.update(buffer.subarray(offset, offset + length)), offset);
    cipher.final();
    buffer.set(cipher.getAuthTag(), offset + length);
  }

  open(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    const end = offset + length - TAG_SIZE;
    if (end < offset) return false;
    this.#setNonce(counterHigh, counterLow);
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nonce, TAG_OPTIONS);
    decipher.setAuthTag(buffer.subarray(end, end + TAG_SIZE));
    const plain = end > offset ? decipher.update(buffer.subarray(offset, end)) : undefined;
    try {
      decipher.final();
    } catch {
      return false; // a wrong tag
    }
    if (plain !== undefined) buffer.set(plain, offset);
    return true;
  }

  destroy(): void {
    this.#key.fill(0);
  }

  /** Whitepaper §5.4.6: 32 bits of zeros, then the 64-bit little-endian counter. */
  #setNonce(high: number, low: number): void {
    const nonce = this.#nonce;
    nonce[4] = low;
    nonce[5] = low >>> 8;
    nonce[6] = low >>> 16;
    nonce[7] = low >>> 24;
    nonce[8] = high;
    nonce[9] = high >>> 8;
    nonce[10] = high >>> 16;
    nonce[11] = high >>> 24;
  }
}

function importPrivateKey(privateKey: Uint8Array) {
  const key = der(PKCS8_HEADER, privateKey);
  try {
    return createPrivateKey({ key, format: "der", type: "pkcs8" });
  } finally {
    key.fill(0);
  }
}

function der(header: Uint8Array, key: Uint8Array): Buffer {
  if (key.length !== KEY_SIZE) {
    throw new RangeError(`a key has ${KEY_SIZE} bytes, got ${key.length}`);
  }
  const bytes = Buffer.alloc(header.length + KEY_SIZE);
  bytes.set(header);
  bytes.set(key, header.length);
  return bytes;
}
