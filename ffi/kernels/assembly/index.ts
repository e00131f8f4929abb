// @ts-nocheck: AssemblyScript, which asc checks.
/**
 * What the compiled module exports.
 *
 * @module
 */

export { open, seal } from "./aead.ts";
export { sum } from "./checksum.ts";
