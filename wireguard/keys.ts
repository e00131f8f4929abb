/**
 * Private keys as `wg genkey` makes them.
 *
 * @module
 */

import { KEY_SIZE } from "./messages.ts";

/** Clamps a private key in place (RFC 7748 §5), as `wg` does with every key it reads. */
export function clampPrivateKey(key: Uint8Array): Uint8Array {
  key[0]! &= 248;
  key[31] = key[31]! & 127 | 64;
  return key;
}

/** A new private key, clamped. @param random Fills an array with secret random bytes. */
export function generatePrivateKey(random: (out: Uint8Array) => void): Uint8Array {
  const key = new Uint8Array(KEY_SIZE);
  random(key);
  return clampPrivateKey(key);
}

/** @throws {RangeError} unless `key` has 32 bytes. Its bytes never get into the message. */
export function checkKey(name: string, key: Uint8Array): void {
  if (key.length !== KEY_SIZE) throw new RangeError(`a ${name} has 32 bytes, got ${key.length}`);
}
