/**
 * The hash functions of whitepaper §5.4, under its names.
 *
 * @module
 */

import { Blake2s } from "./blake2s.ts";
import { EMPTY } from "./bytes.ts";

/** Of a hash, and of what is derived from one. */
const HASH_SIZE = 32;

/** Of mac1, mac2 and cookies. */
export const MAC_SIZE = 16;

// RFC 2104 §2
const IPAD = 0x36;
const OPAD = 0x5c;

// One of each, and one call at a time: nothing here is asynchronous.
const blake2s = new Blake2s();
const computed = new Uint8Array(MAC_SIZE);
const counter = new Uint8Array(1);

/** HASH(a ‖ b): BLAKE2s with 32 bytes of output. */
export function HASH(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(HASH_SIZE);
  blake2s.begin(HASH_SIZE, EMPTY);
  blake2s.update(a, 0, a.length);
  blake2s.update(b, 0, b.length);
  blake2s.finish(out, 0);
  return out;
}

/** MAC(key, input): keyed BLAKE2s with 16 bytes of output, of `length` bytes at `offset`. */
export function MAC(
  key: Uint8Array,
  input: Uint8Array,
  offset: number = 0,
  length: number = input.length,
): Uint8Array {
  const out = new Uint8Array(MAC_SIZE);
  writeMAC(key, input, offset, length, out, 0);
  return out;
}

/** {@link MAC}, written to `out` at `at`. */
export function writeMAC(
  key: Uint8Array,
  input: Uint8Array,
  offset: number,
  length: number,
  out: Uint8Array,
  at: number,
): void {
  blake2s.begin(MAC_SIZE, key);
  blake2s.update(input, offset, length);
  blake2s.finish(out, at);
}

/** Whether the 16 bytes behind `length` bytes at `offset` are their MAC. In constant time. */
export function isMAC(key: Uint8Array, input: Uint8Array, offset: number, length: number): boolean {
  writeMAC(key, input, offset, length, computed, 0);
  let difference = 0;
  for (let i = 0; i < MAC_SIZE; i++) difference |= computed[i]! ^ input[offset + length + i]!;
  return difference === 0;
}

/** KDF1: the first key of HKDF with an empty info. */
export function KDF1(key: Uint8Array, input: Uint8Array): Uint8Array {
  const t0 = HMAC(key, input, 0);
  const t1 = HMAC(t0, EMPTY, 1);
  t0.fill(0);
  return t1;
}

/** KDF2: the first two keys. */
export function KDF2(key: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array] {
  const t0 = HMAC(key, input, 0);
  const t1 = HMAC(t0, EMPTY, 1);
  const t2 = HMAC(t0, t1, 2);
  t0.fill(0);
  return [t1, t2];
}

/** KDF3: the first three keys. */
export function KDF3(key: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
  const t0 = HMAC(key, input, 0);
  const t1 = HMAC(t0, EMPTY, 1);
  const t2 = HMAC(t0, t1, 2);
  const t3 = HMAC(t0, t2, 3);
  t0.fill(0);
  return [t1, t2, t3];
}

/** HMAC(key, input ‖ n): HMAC-BLAKE2s (RFC 2104), 32 bytes; of the input alone if n is 0. */
function HMAC(key: Uint8Array, input: Uint8Array, n: number): Uint8Array {
  const out = new Uint8Array(HASH_SIZE);
  blake2s.beginPadded(key, IPAD);
  blake2s.update(input, 0, input.length);
  if (n !== 0) {
    counter[0] = n;
    blake2s.update(counter, 0, 1);
  }
  blake2s.finish(out, 0);
  blake2s.beginPadded(key, OPAD);
  blake2s.update(out, 0, HASH_SIZE);
  blake2s.finish(out, 0);
  return out;
}
