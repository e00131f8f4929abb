/**
 * A file that nobody has made before.
 *
 * @module
 */

export interface NewFileOptions {
  /** Default: this user alone reads and writes it. */
  readonly mode?: number;
  /** Whether it is on the disk when the call returns. Default: when the system pleases. */
  readonly isDurable?: boolean;
}

/** @throws {Error} of the system, if there is one already too. */
export function writeNewFile(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600, isDurable = false }: NewFileOptions = {},
): void {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  using file = Deno.openSync(path, { write: true, createNew: true, mode });
  for (let sent = 0; sent < bytes.length;) sent += file.writeSync(bytes.subarray(sent));
  if (isDurable) file.syncSync();
}
