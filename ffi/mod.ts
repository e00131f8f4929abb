/**
 * What is foreign to TypeScript: Linux behind `Deno.dlopen`, and WebAssembly.
 *
 * @module
 */

export { type KernelAeadKey, Kernels } from "./kernels/kernels.ts";
export * from "./tun.ts";
