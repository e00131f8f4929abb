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
 * replaces it. So if something has been written since this process began, what is loaded by now was not
 * taken, and the rest would not be either.
 *
 * @returns whether the program was in no cache before. The runtime cannot use one that has just grown so
 * much if it may not write there, where SQLite wants to keep statistics of it: it may in one more life.
 */
export async function keepCompiled(
  view: ProcessView,
  folder: string | undefined,
  load: () => Promise<void>,
): Promise<boolean> {
  const cache = moduleCache(view);
  if (folder === undefined || cache === undefined || !view.isWritable(cache)) return false;
  // Where Deno has the compiled form of a module that comes late.
  const source = `${folder}/proxy/gateway/gateway.ts`;
  const compiled = `${cache}/gen/file${source}.js`;
  if (!isFile(source)) return false; // The program is one file.
  try {
    const isThere = isFile(compiled);
    const changed = Math.max(changeOf(source), changeOf(Deno.execPath()));
    await turn();
    const isKept = isThere && Number(Deno.statSync(compiled).mtime) >= changed;
    if (isKept && !isWritten(cache, performance.timeOrigin)) return false;
    await load();
    await turn();
    const time = new Date(Math.max(Date.now(), changed)); // as it was, if only the time had changed
    Deno.utimeSync(compiled, time, time);
    return !isThere;
  } catch {
    return false; // Slower next time.
  }
}

/** @returns milliseconds of the epoch. */
function changeOf(path: string): number {
  const { ctime, mtime } = Deno.statSync(path); // of the first the runtime has whole seconds
  return Math.max(Number(ctime), Number(mtime));
}

/** @param since Milliseconds of the epoch. */
function isWritten(cache: string, since: number): boolean {
  const now = Date.now(); // what is later has been written by a clock that was ahead
  return Array.from(Deno.readDirSync(cache)).some(({ name }) => {
    if (!V8_CACHE.test(name)) return false;
    const { mtime, size } = Deno.statSync(`${cache}/${name}`);
    return size > 0 && Number(mtime) >= since && Number(mtime) <= now;
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
