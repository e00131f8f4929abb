// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * ChaCha20-Poly1305 (RFC 8439 §2.8) in place, in one pass over the data.
 *
 * The key comes as arguments and is in memory only during the call: what a call wrote below
 * SECRETS_END is zero when it returns.
 *
 * @module
 */

import { encryptFourBlocks, FOUR_BLOCKS, keystreamTwoBlocks } from "./chacha20.ts";
import { KEYSTREAM, SECRETS_END, ZEROS } from "./layout.ts";
import { encryptFrom, setKey, setNonce, wipe } from "./parts.ts";
import { absorbRest, finishMac, startMac } from "./poly1305.ts";

/** Key stream of the first four blocks that is left for the data. */
const FIRST: usize = FOUR_BLOCKS - 64;

/**
 * Encrypts `length` bytes at `text` and writes the tag behind them. Additional data may be anywhere
 * below the last 16 bytes of the memory.
 */
export function seal(
  key0: u32,
  key1: u32,
  key2: u32,
  key3: u32,
  key4: u32,
  key5: u32,
  key6: u32,
  key7: u32,
  nonce0: u32,
  nonce1: u32,
  nonce2: u32,
  additional: usize,
  additionalLength: usize,
  text: usize,
  length: usize,
): void {
  setKey(key0, key1, key2, key3, key4, key5, key6, key7);
  setNonce(nonce0, nonce1, nonce2);
  start(length);
  absorbRest(additional, additional + additionalLength);

  // Poly1305 follows four blocks behind: it needs the ciphertext.
  const end = text + length;
  let mac = text;
  let at = text + min(length, FIRST);
  encryptFrom(KEYSTREAM + 64, text, at);
  while (at + FOUR_BLOCKS <= end) {
    encryptFourBlocks(at, at, mac, at);
    mac = at;
    at += FOUR_BLOCKS;
  }
  if (at < end) {
    encryptFourBlocks(ZEROS, KEYSTREAM, mac, at);
    mac = at;
    encryptFrom(KEYSTREAM, at, end);
  }
  absorbRest(mac, end);
  v128.store(end, finishMac(additionalLength, length));
  wipe(SECRETS_END);
}

/**
 * Checks the tag behind `length` bytes of ciphertext at `text`, and decrypts them.
 *
 * Plaintext is written before the tag is checked, but nobody sees it: the memory belongs to one
 * thread, and if the tag is wrong, data and tag are zero on return.
 */
export function open(
  key0: u32,
  key1: u32,
  key2: u32,
  key3: u32,
  key4: u32,
  key5: u32,
  key6: u32,
  key7: u32,
  nonce0: u32,
  nonce1: u32,
  nonce2: u32,
  additional: usize,
  additionalLength: usize,
  text: usize,
  length: usize,
): bool {
  setKey(key0, key1, key2, key3, key4, key5, key6, key7);
  setNonce(nonce0, nonce1, nonce2);
  start(length);
  absorbRest(additional, additional + additionalLength);

  // Poly1305 goes ahead: it needs the ciphertext that is about to be overwritten.
  const end = text + length;
  let at = text + min(length, FIRST);
  absorbRest(text, at);
  encryptFrom(KEYSTREAM + 64, text, at);
  while (at + FOUR_BLOCKS <= end) {
    encryptFourBlocks(at, at, at, at + FOUR_BLOCKS);
    at += FOUR_BLOCKS;
  }
  if (at < end) {
    const whole = at + ((end - at) & ~15);
    encryptFourBlocks(ZEROS, KEYSTREAM, at, whole);
    absorbRest(whole, end);
    encryptFrom(KEYSTREAM, at, end);
  }
  // All 16 bytes are compared at once, in constant time.
  const wrong = v128.any_true(v128.xor(v128.load(end), finishMac(additionalLength, length)));
  wipe(SECRETS_END);
  if (wrong) memory.fill(text, 0, length + 16);
  return !wrong;
}

/**
 * The first four blocks of the key stream, counted from 0, or two if `length` needs no more. The first
 * of them is the key of Poly1305.
 */
function start(length: usize): void {
  if (length <= 64) keystreamTwoBlocks(KEYSTREAM);
  else encryptFourBlocks(ZEROS, KEYSTREAM, 0, 0);
  startMac();
}
