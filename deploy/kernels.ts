/**
 * `deno task build:kernels`: compiles `ffi/kernels/assembly` to `ffi/kernels/module.ts`.
 *
 * @module
 */

import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import asc from "npm:assemblyscript@0.28.20/asc";

const root = resolve(import.meta.dirname!, "..", "ffi", "kernels");

/** Where asc places data: `assembly/layout.ts`. */
const MEMORY_BASE = "704";

// deno-fmt-ignore
const OPTIONS = [
  "index.ts", "--outFile", "kernels.wasm",
  "-O3", "--converge", "--noAssert", "--runtime", "stub", "--enable", "simd,relaxed-simd",
  "--importMemory", "--noExportMemory", "--memoryBase", MEMORY_BASE,
];

if (import.meta.main) await writeFile(join(root, "module.ts"), moduleText(await build()));

/** The compiled module. The same source gives the same bytes. */
export async function build(): Promise<Uint8Array> {
  let module: Uint8Array | undefined;
  let messages = "";
  const { error } = await asc.main(OPTIONS, {
    stderr: { write: (text: string | Uint8Array) => void (messages += text) },
    // asc appends .ts to the name of every import; Deno wants it written.
    readFile: (name) =>
      readFile(join(root, "assembly", name.replace(/\.ts\.ts$/, ".ts")), "utf8")
        .catch(() => null),
    writeFile: (_name, contents) => void (module = contents as Uint8Array),
    listFiles: () => [],
  });
  if (error !== null || module === undefined) throw new Error(`asc failed\n${messages}`);
  return module;
}

/** What `ffi/kernels/module.ts` holds. */
export function moduleText(module: Uint8Array): string {
  return `/**
 * \`ffi/kernels/assembly\`, compiled. Made by \`deno task build:kernels\`: do not edit.
 *
 * @module
 */

export const MODULE =
  "${module.toBase64()}";
`;
}
