/**
 * Keys as `wg` writes them: 32 bytes in 44 characters of base64.
 *
 * @module
 */

import process from "node:process";

/** Bytes in a private, public or preshared key. */
export const KEY_LENGTH = 32;

/** Characters in the text of a key. */
export const KEY_TEXT_LENGTH = 44;

/** A key as a program writes it: its 32 bytes, or the text that {@link encodeKey} makes of them. */
export type KeyInput = string | Uint8Array;

/** Text of a key, 44 characters. */
export function encodeKey(key: Uint8Array): string {
  return key.toBase64();
}

/**
 * The bytes of a key's text.
 *
 * @returns undefined unless `text` is exactly what {@link encodeKey} writes for some key: padding
 * there, unused bits zero, nothing around it.
 */
export function decodeKey(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return undefined;
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}

/** Takes the same time wherever the keys differ. */
export function isSameKey(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

/** A fresh private key, clamped as `wg genkey` does (RFC 7748 §5). */
export function generatePrivateKey(): Uint8Array {
  const key = generatePresharedKey();
  key[0]! &= 248;
  key[31] = key[31]! & 127 | 64;
  return key;
}

/** A fresh preshared key: 32 random bytes. */
export function generatePresharedKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(KEY_LENGTH));
}

// What stands before the 32 bytes of an X25519 private key in PKCS #8 (RFC 8410 §7).
const PKCS8_HEADER = Uint8Array.fromHex("302e020100300506032b656e04220420");

/**
 * The X25519 public key. A private key that is not clamped is clamped.
 *
 * @throws {RangeError} if the key is not 32 bytes long, or not the text of as many.
 */
export function publicKeyOf(key: KeyInput): Uint8Array {
  const privateKey = typeof key === "string" ? decodeKey(key) : key;
  if (privateKey?.length !== KEY_LENGTH) {
    const got = typeof key === "string" ? "a text of something else" : key.length;
    throw new RangeError(`a private key has ${KEY_LENGTH} bytes, got ${got}`);
  }
  const der = new Uint8Array(PKCS8_HEADER.length + KEY_LENGTH);
  der.set(PKCS8_HEADER);
  der.set(privateKey, PKCS8_HEADER.length);
  // Loaded here, and not above, because it takes longer than all of `genkey`.
  const { createPrivateKey, createPublicKey } = process.getBuiltinModule("node:crypto");
  const parsed = createPrivateKey({ key: der as never, format: "der", type: "pkcs8" });
  der.fill(0);
  const spki = createPublicKey(parsed).export({ format: "der", type: "spki" });
  return new Uint8Array(spki.subarray(spki.length - KEY_LENGTH));
}
