/**
 * A file that is replaced as a whole: who reads it gets the old one or the new one.
 *
 * @module
 */

export interface ReplaceOptions {
  /** Default: this user alone reads and writes it. */
  readonly mode?: number;
  /** Whether it is on the disk when the call returns. Default: when the system pleases. */
  readonly isDurable?: boolean;
}

/**
 * Writes beside it first, with `.new` behind the name, where one writer at a time is expected.
 *
 * @throws {Error} of the system; then the old file is there.
 */
export function replaceFile(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600, isDurable = false }: ReplaceOptions = {},
): void {
  const next = `${path}.new`;
  remove(next); // of a process that was killed; a link of somebody else's is not followed
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  try {
    using file = Deno.openSync(next, { write: true, createNew: true, mode });
    for (let sent = 0; sent < bytes.length;) sent += file.writeSync(bytes.subarray(sent));
    if (isDurable) file.syncSync();
  } catch (error) {
    try {
      remove(next);
    } catch { /* it could not be made either */ }
    throw error;
  }
  Deno.renameSync(next, path);
  if (isDurable) syncFolder(path.replace(/[^/]*$/, "") || ".");
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
