/**
 * Programs that a test makes.
 *
 * @module
 */

/**
 * Copies a program. By another process: whatever this one has open to write is open, too, in a child that
 * another test file starts meanwhile, until that executes its own program, and as long "text file busy".
 */
export function copyExecutable(from: string, to: string): void {
  const { success } = new Deno.Command("sh", {
    args: ["-c", 'rm -f "$1" && cp "$0" "$1" && chmod 755 "$1"', from, to],
  }).outputSync();
  if (!success) throw new Error(`${to} is not written`);
}

/** Writes a program, as {@link copyExecutable} does. */
export function writeExecutable(path: string, content: string | Uint8Array): void {
  const text = `${path}.text`;
  if (typeof content === "string") Deno.writeTextFileSync(text, content);
  else Deno.writeFileSync(text, content);
  copyExecutable(text, path);
  Deno.removeSync(text);
}
