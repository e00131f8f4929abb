/**
 * A file that is replaced as a whole: who reads it gets the old one or the new one.
 *
 * @module
 */

import { type NewFileOptions, writeNewFile } from "./new_file.ts";

/**
 * Writes beside it first, with `.new` behind the name, where one writer at a time is expected.
 *
 * @throws {Error} of the system; then the old file is there.
 */
export function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: NewFileOptions = {},
): void {
  const next = `${path}.new`;
  remove(next); // of a process that was killed; a link of somebody else's is not followed
  try {
    writeNewFile(next, content, options);
  } catch (error) {
    try {
      remove(next);
    } catch { /* it could not be made either */ }
    throw error;
  }
  Deno.renameSync(next, path);
  if (options.isDurable) syncFolder(path.replace(/[^/]*$/, "") || ".");
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The new name is on the disk too. */
function syncFolder(folder: string): void {
  try {
    using opened = Deno.openSync(folder);
    opened.syncSync();
  } catch {
    // Not every system and file system can. The file is whole either way.
  }
}
