/**
 * The runtime's cache of compiled modules, which a confined gateway can read and not write.
 *
 * @module
 */

import type { ProcessView } from "../../../ffi/confine/mod.ts";
import { isFile } from "./paths.ts";

/**
 * Loads the program where the runtime would cache compiled code and has not yet: once confined it can
 * read that cache and not write it, and would compile everything again at every start.
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
    const changed = [source, Deno.execPath()].map((path) => Number(Deno.statSync(path).ctime));
    if (isFile(compiled) && Number(Deno.statSync(compiled).mtime) >= Math.max(...changed)) return;
    await load();
    Deno.utimeSync(compiled, new Date(), new Date()); // as it was, if only the time had changed
  } catch {
    // Slower next time.
  }
}

/** The folder of it; undefined if nothing says where that is. */
export function moduleCache(view: ProcessView): string | undefined {
  const home = view.environment("HOME");
  const cache = view.environment("XDG_CACHE_HOME") ?? (home && `${home}/.cache`);
  return view.environment("DENO_DIR") ?? (cache && `${cache}/deno`);
}
