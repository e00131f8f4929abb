// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * ChaCha20-Poly1305 as in `../aead.ts`, in pieces of six blocks and with products of 128 bits.
 *
 * @module
 */

import { encryptFourBlocks, FOUR_BLOCKS, keystreamTwoBlocks } from "../chacha20.ts";
import { KEYSTREAM, WIDE_SECRETS_END, ZEROS } from "../layout.ts";
import { encryptFrom, setKey, setNonce, wipe } from "../parts.ts";
import { encryptSixBlocks, SIX_BLOCKS } from "./chacha20.ts";
import { absorbRest, finishMac, startMac } from "./poly1305.ts";

/** Key stream of the first six blocks that is left for the data. */
const FIRST: usize = SIX_BLOCKS - 64;

/** See `../aead.ts`. */
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

  // Poly1305 follows six blocks behind: it needs the ciphertext.
  const end = text + length;
  let mac = text;
  let at = text + min(length, FIRST);
  encryptFrom(KEYSTREAM + 64, text, at);
  while (at + SIX_BLOCKS <= end) {
    encryptSixBlocks(at, at, mac, at);
    mac = at;
    at += SIX_BLOCKS;
  }
  if (at < end) {
    if (end - at > FOUR_BLOCKS) {
      encryptSixBlocks(ZEROS, KEYSTREAM, mac, at);
      mac = at;
    } else encryptFourBlocks(ZEROS, KEYSTREAM, 0, 0);
    encryptFrom(KEYSTREAM, at, end);
  }
  absorbRest(mac, end);
  v128.store(end, finishMac(additionalLength, length));
  wipe(WIDE_SECRETS_END);
}

/** See `../aead.ts`. */
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
  while (at + SIX_BLOCKS <= end) {
    encryptSixBlocks(at, at, at, at + SIX_BLOCKS);
    at += SIX_BLOCKS;
  }
  if (at < end) {
    let mac = at;
    if (end - at > FOUR_BLOCKS) {
      mac += (end - at) & ~15;
      encryptSixBlocks(ZEROS, KEYSTREAM, at, mac);
    } else encryptFourBlocks(ZEROS, KEYSTREAM, 0, 0);
    absorbRest(mac, end);
    encryptFrom(KEYSTREAM, at, end);
  }
  // All 16 bytes are compared at once, in constant time.
  const wrong = v128.any_true(v128.xor(v128.load(end), finishMac(additionalLength, length)));
  wipe(WIDE_SECRETS_END);
  if (wrong) memory.fill(text, 0, length + 16);
  return !wrong;
}

/** The first key stream, as many blocks as the data needs; the first is the key of Poly1305. */
function start(length: usize): void {
  if (length <= 64) keystreamTwoBlocks(KEYSTREAM);
  else if (length <= FOUR_BLOCKS - 64) encryptFourBlocks(ZEROS, KEYSTREAM, 0, 0);
  else encryptSixBlocks(ZEROS, KEYSTREAM, 0, 0);
  startMac();
}
