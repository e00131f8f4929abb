// @ts-nocheck: AssemblyScript, which asc checks.
export { open, seal } from "./aead.ts";
export { sum } from "./checksum.ts";
