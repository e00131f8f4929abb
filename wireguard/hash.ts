/**
 * The hash functions of whitepaper §5.4, under its names.
 *
 * @module
 */

import { blake2s } from "npm:@noble/hashes@2.4.0/blake2.js";
import { hmac } from "npm:@noble/hashes@2.4.0/hmac.js";

/** HASH(a ‖ b): BLAKE2s with 32 bytes of output. */
export function HASH(a: Uint8Array, b: Uint8Array): Uint8Array {
  return blake2s.create().update(a).update(b).digest();
}

/** MAC(key, input): keyed BLAKE2s with 16 bytes of output. */
export function MAC(key: Uint8Array, input: Uint8Array): Uint8Array {
  return blake2s(input, { key, dkLen: 16 });
}

/** KDF1: the first key of HKDF with an empty info. */
export function KDF1(key: Uint8Array, input: Uint8Array): Uint8Array {
  const t0 = HMAC(key, input);
  const t1 = HMAC(t0, ONE);
  t0.fill(0);
  return t1;
}

/** KDF2: the first two keys. */
export function KDF2(key: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array] {
  const t0 = HMAC(key, input);
  const t1 = HMAC(t0, ONE);
  const t2 = expand(t0, t1, 2);
  t0.fill(0);
  return [t1, t2];
}

/** KDF3: the first three keys. */
export function KDF3(key: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
  const t0 = HMAC(key, input);
  const t1 = HMAC(t0, ONE);
  const t2 = expand(t0, t1, 2);
  const t3 = expand(t0, t2, 3);
  t0.fill(0);
  return [t1, t2, t3];
}

const ONE = Uint8Array.of(1);

/** τₙ := HMAC(τ₀, τₙ₋₁ ‖ n) */
function expand(t0: Uint8Array, previous: Uint8Array, n: number): Uint8Array {
  return hmac.create(blake2s, t0).update(previous).update(Uint8Array.of(n)).digest();
}

/** HMAC(key, input): HMAC-BLAKE2s, 32 bytes. */
function HMAC(key: Uint8Array, input: Uint8Array): Uint8Array {
  return hmac(blake2s, key, input);
}
