// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * The bottom of the memory, below everything the arena gives out: 1 KiB in all. What follows it is laid
 * out by `ffi/kernels/kernels.ts`.
 *
 * @module
 */

/** The 16 input words of ChaCha20 (RFC 8439 §2.3): constants, key, counter, nonce. */
export const STATE: usize = 0;
/** Poly1305: see poly1305.ts. */
export const MAC: usize = 64;
/** A block that is not part of the data: the lengths, then the tag. */
export const BLOCK: usize = 176;
/**
 * The first blocks of key stream, and later what the last bytes of the data need: four blocks, in
 * `wide/` six. The first is the one-time key of Poly1305.
 */
export const KEYSTREAM: usize = 192;

/** All of the above is zero between calls. */
export const SECRETS_END: usize = 448;
export const WIDE_SECRETS_END: usize = 576;

/**
 * See `wide/chacha20.ts`: nobody reads it, it is made of sums of key stream. Wiped, too. In a place that
 * holds nothing while blocks are encrypted.
 */
export const SEED: usize = BLOCK;

/** Six blocks of zeros: what is encrypted to get the key stream itself. */
export const ZEROS: usize = 576;

// From 960 on (`--memoryBase`) is what asc places: the data below, up to 1,024.

/** Indices of bytes that rotate four words to the left. */
export const ROTATE_8: usize = memory.data<u8>(
  [3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14],
  16,
);
export const ROTATE_16: usize = memory.data<u8>(
  [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13],
  16,
);
const FIRST_BYTES: usize = memory.data<u64>([-1, -1, 0, 0], 16);

/** Ones in the first `bytes` of 16. */
export function firstBytes(bytes: usize): v128 {
  return v128.load(FIRST_BYTES + 16 - bytes);
}
