/**
 * The runtime's cache of compiled modules, which a confined gateway can read and not write.
 *
 * @module
 */

import type { ProcessView } from "../../../ffi/confine/mod.ts";
import { isFile } from "./paths.ts";

/** What V8 has compiled, and what is not yet in that file. */
const V8_CACHE = /^v8_code_cache_v\d+(?:-wal)?$/;

/**
 * Loads the program where the runtime would cache compiled code and has not yet: once confined it can
 * read that cache and not write it, and would compile everything again at every start.
 *
 * V8 does not take what it has compiled with other flags (`start:sandbox`, a test), and the runtime then
 * replaces it. So if something has been written since this process began, what is loaded by now was
 * not taken, and the rest would not be either.
 */
export async function keepCompiled(
  view: ProcessView,
  folder: string | undefined,
  load: () => Promise<void>,
): Promise<void> {
  const cache = moduleCache(view);
  if (folder === undefined || cache === undefined || !view.isWritable(cache)) return;
  // Where Deno has the compiled form of a module that comes late.
  const source = `${folder}/proxy/gateway/gateway.ts`;
  const compiled = `${cache}/gen/file${source}.js`;
  if (!isFile(source)) return; // The program is one file.
  try {
    const isKept = isFile(compiled) &&
      Number(Deno.statSync(compiled).mtime) >= Math.max(changed(source), changed(Deno.execPath()));
    await turn();
    if (isKept && !isWritten(cache, performance.timeOrigin)) return;
    await load();
    await turn();
    Deno.utimeSync(compiled, new Date(), new Date()); // as it was, if only the time had changed
  } catch {
    // Slower next time.
  }
}

/** @returns milliseconds of the epoch. */
function changed(path: string): number {
  const { ctime, mtime } = Deno.statSync(path); // of the first the runtime has whole seconds
  return Math.max(Number(ctime), Number(mtime));
}

/** @param since Milliseconds of the epoch. */
function isWritten(cache: string, since: number): boolean {
  return Array.from(Deno.readDirSync(cache)).some(({ name }) => {
    if (!V8_CACHE.test(name)) return false;
    const { mtime, size } = Deno.statSync(`${cache}/${name}`);
    return size > 0 && Number(mtime) >= since;
  });
}

/** In which the runtime writes what has been compiled. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** The folder of it; undefined if nothing says where that is. */
export function moduleCache(view: ProcessView): string | undefined {
  const home = view.environment("HOME");
  const cache = view.environment("XDG_CACHE_HOME") ?? (home && `${home}/.cache`);
  return view.environment("DENO_DIR") ?? (cache && `${cache}/deno`);
}
