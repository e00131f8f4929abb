/**
 * What is foreign to TypeScript: Linux behind `Deno.dlopen`.
 *
 * @module
 */

export * from "./tun.ts";
