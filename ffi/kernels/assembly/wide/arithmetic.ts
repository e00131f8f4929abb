// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * Sums and products of 128 bits: instructions of WebAssembly's proposal "wide arithmetic", which asc
 * does not know. To it they are imports from a module of this file's name; `deploy/wide_arithmetic.ts` makes instructions of the calls.
 *
 * @module
 */

/** @returns the lower 64 bits of a product; {@link high} gives the upper ones. */
export declare function mulWide(a: u64, b: u64): u64;

/** @returns the lower 64 bits of a sum modulo 2^128; {@link high} gives the upper ones. */
export declare function addWide(aLow: u64, aHigh: u64, bLow: u64, bHigh: u64): u64;

/** Of what was last computed in the same function. */
export declare function high(): u64;
