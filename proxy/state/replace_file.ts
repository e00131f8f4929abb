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
    removeIfPossible(next);
    throw error;
  }
  Deno.renameSync(next, path);
  if (options.isDurable) syncFolder(folderOf(path));
}

export interface ReplaceBesideOptions {
  /**
   * What has come since the pieces: written with the change of the name, in one step. Called once all
   * else is on the disk.
   */
  last(): Uint8Array;
  /** The name is changed, in the same step. @param size Of the file, bytes. */
  replaced(size: number): void;
  /** Ends it at once: nothing is left beside the old file, which stays. */
  readonly signal: AbortSignal;
}

/**
 * As {@link replaceFile}, durable, without holding up this process: only the last step is done at once.
 *
 * @param pieces Of the new file. The next is asked for when one is written.
 * @throws {Error} of the system, or the signal's reason; then the old file is there.
 */
export async function replaceFileBeside(
  path: string,
  pieces: Iterable<Uint8Array>,
  { last, replaced, signal }: ReplaceBesideOptions,
): Promise<void> {
  signal.throwIfAborted();
  const next = `${path}.new`;
  remove(next);
  using file = Deno.openSync(next, { write: true, createNew: true, mode: 0o600 });
  // At once: the name may be another's by the time that the disk has answered.
  const abandon = () => removeIfPossible(next);
  signal.addEventListener("abort", abandon, { once: true });
  try {
    let size = 0;
    for (const piece of pieces) {
      for (let sent = 0; sent < piece.length;) {
        sent += await file.write(piece.subarray(sent));
        signal.throwIfAborted();
      }
      size += piece.length;
    }
    await file.sync();
    signal.throwIfAborted();
    const rest = last();
    for (let sent = 0; sent < rest.length;) sent += file.writeSync(rest.subarray(sent));
    if (rest.length > 0) file.syncSync();
    Deno.renameSync(next, path);
    syncFolder(folderOf(path));
    replaced(size + rest.length);
  } catch (error) {
    if (!signal.aborted) abandon();
    throw error;
  } finally {
    signal.removeEventListener("abort", abandon);
  }
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function removeIfPossible(path: string): void {
  try {
    remove(path);
  } catch { /* it could not be made either */ }
}

function folderOf(path: string): string {
  return path.replace(/[^/]*$/, "") || ".";
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
