// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * What both kinds of ChaCha20-Poly1305 have in common.
 *
 * @module
 */

import { firstBytes, STATE } from "./layout.ts";

export function setKey(
  key0: u32,
  key1: u32,
  key2: u32,
  key3: u32,
  key4: u32,
  key5: u32,
  key6: u32,
  key7: u32,
): void {
  store<u32>(STATE, key0, 16);
  store<u32>(STATE, key1, 20);
  store<u32>(STATE, key2, 24);
  store<u32>(STATE, key3, 28);
  store<u32>(STATE, key4, 32);
  store<u32>(STATE, key5, 36);
  store<u32>(STATE, key6, 40);
  store<u32>(STATE, key7, 44);
}

/** And the constants; the block counter is 0. */
export function setNonce(nonce0: u32, nonce1: u32, nonce2: u32): void {
  v128.store(STATE, i32x4(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574)); // "expand 32-byte k"
  store<u32>(STATE, 0, 48);
  store<u32>(STATE, nonce0, 52);
  store<u32>(STATE, nonce1, 56);
  store<u32>(STATE, nonce2, 60);
}

/**
 * Encrypts with key stream that is in memory. A last part of less than 16 bytes is written with what
 * stands behind it, which the tag's place makes room for.
 */
export function encryptFrom(keystream: usize, text: usize, end: usize): void {
  for (; text + 16 <= end; text += 16) {
    v128.store(text, v128.xor(v128.load(text), v128.load(keystream)));
    keystream += 16;
  }
  if (text === end) return;
  const rest = v128.and(v128.load(keystream), firstBytes(end - text));
  v128.store(text, v128.xor(v128.load(text), rest));
}

/** Zeros up to `end`, a multiple of 64. */
export function wipe(end: usize): void {
  const zero = i64x2.splat(0);
  for (let at: usize = 0; at < end; at += 64) {
    v128.store(at, zero);
    v128.store(at, zero, 16);
    v128.store(at, zero, 32);
    v128.store(at, zero, 48);
  }
}
