/**
 * How many descriptors this process may have open.
 *
 * @module
 */

import { openLibc } from "./libc.ts";

/** <asm-generic/resource.h> */
const RLIMIT_NOFILE = 7;

/** @returns Infinity for no limit. @throws {Error} without `--allow-ffi`, or if there is no glibc. */
export function descriptorLimit(): number {
  const { symbols, close } = openLibc({
    getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  try {
    const limits = new BigUint64Array(8); // struct rlimit: the soft one, the hard one
    if (symbols.getrlimit(RLIMIT_NOFILE, limits) !== 0) return Infinity;
    const soft = limits[0]!;
    return soft === 0xffff_ffff_ffff_ffffn ? Infinity : Number(soft);
  } finally {
    close();
  }
}
