// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * What the compiled module with 128-bit products exports: the same as `../index.ts`.
 *
 * @module
 */

export { open, seal } from "./aead.ts";
export { sum } from "../checksum.ts";
