/**
 * The names of this process's environment, which Deno tells only to a program that may read all of it.
 *
 * @module
 */

import { openLibc } from "./libc.ts";

const CALLS = {
  environ: { type: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

const POINTER_BYTES = 8;
/** More than any system hands to a program. */
const MAX_VARIABLES = 100_000;

/** @throws {Error} without `--allow-ffi`, or if there is no glibc. */
export function environmentNames(): string[] {
  const libc = openLibc(CALLS);
  try {
    // The address of the variable, not what is in it.
    const variable = libc.symbols.environ;
    const environ = variable && new Deno.UnsafePointerView(variable).getPointer();
    if (!environ) return [];
    const list = new Deno.UnsafePointerView(environ);
    const names: string[] = [];
    for (let i = 0; i < MAX_VARIABLES; i++) {
      const text = list.getPointer(i * POINTER_BYTES);
      if (text === null) break;
      // Without the values, some of which are secrets.
      names.push(new Deno.UnsafePointerView(text).getCString().replace(/=[^]*$/, ""));
    }
    return names;
  } finally {
    libc.close();
  }
}
