/**
 * The files a command line names.
 *
 * @module
 */

import { isDescriptor, isStandardInput } from "../config/descriptor.ts";
import { MAX_CONFIG_BYTES } from "../config/limits.ts";
import { readFileText, type ReadLimits, textOf } from "../config/read_file.ts";
import type { Terminal } from "./terminal.ts";

export { isDescriptor, isStandardInput };

/**
 * @param expected What the file should be, for the message.
 * @param terminal Has standard input, which `-` stands for. Missing: it does not.
 * @throws {ConfigError} if there is no such file, or it cannot be read, or is not text.
 */
export async function readText(
  path: string,
  expected: string,
  terminal?: Terminal,
  limits?: ReadLimits,
): Promise<string> {
  return terminal !== undefined && isStandardInput(path)
    ? textOf(await terminal.readInput(MAX_CONFIG_BYTES + 1), path, expected)
    : await readFileText(path, expected, limits);
}

/** Whether other users can read the file, by its mode and its folder's, as wg-quick judges it. */
export async function isWorldAccessible(path: string): Promise<boolean> {
  if (isDescriptor(path)) return false;
  try {
    const real = await Deno.realPath(path);
    const file = await Deno.stat(real);
    const folder = await Deno.stat(real.replace(/[^/\\]*$/, "") || "/");
    return file.isFile && ((file.mode ?? 0) & (folder.mode ?? 0) & 0o007) !== 0;
  } catch {
    return false; // Reading the file gives a better error.
  }
}
