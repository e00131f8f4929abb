/**
 * `deno task build:kernels`: compiles `ffi/kernels/assembly` to `ffi/kernels/module.ts`, both modules;
 * with `--print` to standard output.
 *
 * @module
 */

import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import process from "node:process";
import { useWideArithmetic } from "./wide_arithmetic.ts";

const root = resolve(import.meta.dirname!, "..", "ffi", "kernels");

/**
 * Not an import that Deno can see, and in a lock file of its own, `kernels.lock`: `deno task` fetches
 * all that `deno.lock` names, and the compiler is 100 MB that nobody needs who runs a gateway.
 */
const COMPILER: string = "npm:assemblyscript@0.28.20/asc";

/** What is used of it. */
interface Compiler {
  main(options: readonly string[], host: {
    stderr: { write(text: string | Uint8Array): void };
    readFile(name: string): Promise<string | null>;
    writeFile(name: string, contents: string | Uint8Array): void;
    listFiles(): string[];
  }): Promise<{ error: Error | null }>;
}

/** Where asc places data: `assembly/layout.ts`. */
const MEMORY_BASE = "960";

// deno-fmt-ignore
const OPTIONS = [
  "--outFile", "kernels.wasm",
  "-O3", "--converge", "--noAssert", "--runtime", "stub", "--enable", "simd,relaxed-simd",
  "--importMemory", "--noExportMemory", "--memoryBase", MEMORY_BASE,
];

if (import.meta.main) {
  const text = moduleText(await build("index.ts"), useWideArithmetic(await build("wide/index.ts")));
  if (Deno.args.includes("--print")) process.stdout.write(text);
  else await writeFile(join(root, "module.ts"), text);
}

/** The compiled module. The same source gives the same bytes. */
async function build(entry: string): Promise<Uint8Array> {
  const { default: asc }: { default: Compiler } = await import(COMPILER);
  let module: Uint8Array | undefined;
  let messages = "";
  const { error } = await asc.main([entry, ...OPTIONS], {
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
function moduleText(module: Uint8Array, wide: Uint8Array): string {
  return `/**
 * \`ffi/kernels/assembly\`, compiled. Made by \`deno task build:kernels\`: do not edit.
 *
 * @module
 */

export const MODULE =
  "${module.toBase64()}";

/** With wide arithmetic. */
export const WIDE_MODULE =
  "${wide.toBase64()}";
`;
}
