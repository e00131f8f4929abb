/**
 * How many descriptors this process may have open.
 *
 * @module
 */

import { openLibc } from "./libc.ts";

const CALLS = {
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** <asm-generic/resource.h> */
const RLIMIT_NOFILE = 7;

/** @returns Infinity for no limit. @throws {Error} without `--allow-ffi`, or if there is no glibc. */
export function descriptorLimit(): number {
  const { symbols, close } = openLibc(CALLS);
  try {
    const limits = new BigUint64Array(8); // struct rlimit: the soft one, the hard one
    if (symbols.getrlimit(RLIMIT_NOFILE, limits) !== 0) return Infinity;
    const soft = limits[0]!;
    return soft === 0xffff_ffff_ffff_ffffn ? Infinity : Number(soft);
  } finally {
    close();
  }
}
