/**
 * The files a command line names.
 *
 * @module
 */

import { descriptorOf, isDescriptor, isStandardInput } from "../config/descriptor.ts";
import { ConfigError } from "../config/error.ts";
import { decodeKey } from "../base64.ts";
import type { Terminal } from "./terminal.ts";

export { isDescriptor, isStandardInput };

/** Bytes of a configuration: of some 100,000 peers. */
const MAX_BYTES = 32 << 20;

/**
 * @param expected What the file should be, for the message.
 * @param terminal Has standard input, which `-` stands for. Missing: it does not.
 * @throws {ConfigError} if there is no such file, or it cannot be read, or is not text.
 */
export async function readText(
  path: string,
  expected: string,
  terminal?: Terminal,
): Promise<string> {
  const bytes = terminal !== undefined && isStandardInput(path)
    ? await terminal.readInput()
    : await readFile(path, expected);
  if (bytes.includes(0)) throw new ConfigError([`${path}: is not text, expected ${expected}`]);
  return new TextDecoder().decode(bytes);
}

async function readFile(path: string, expected: string): Promise<Uint8Array> {
  if (decodeKey(path) !== undefined) {
    // The user gave the key itself instead of a file: it must not get into a log.
    throw new ConfigError([`(withheld): is a key, expected the name of ${expected}`]);
  }
  try {
    const status = await Deno.stat(path);
    if (status.isDirectory) {
      throw new ConfigError([`${path}: is a directory, expected ${expected}`]);
    }
    if (!status.isFile && !status.isFifo) {
      throw new ConfigError([`${path}: is not a file, expected ${expected}`]);
    }
    if (status.size > MAX_BYTES) {
      const most = MAX_BYTES >> 20;
      throw new ConfigError([
        `${path}: has ${status.size} bytes, expected ${expected}, of ${most} MB at most`,
      ]);
    }
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const descriptor = descriptorOf(path);
    if (descriptor !== undefined && error instanceof Deno.errors.NotCapable) {
      return await readRedirected(path, descriptor, expected);
    }
    throw new ConfigError([`${path}: ${whyUnreadable(error)}, expected ${expected}`]);
  }
}

/** Deno opens a descriptor if it is a pipe. A file takes the C library. */
async function readRedirected(
  path: string,
  descriptor: number,
  expected: string,
): Promise<Uint8Array> {
  const { readDescriptor } = await import("../../ffi/mod.ts");
  try {
    return readDescriptor(descriptor, MAX_BYTES);
  } catch (error) {
    const why = error instanceof Deno.errors.NotCapable
      ? "a file as a descriptor needs --allow-ffi"
      : (error as Error).message;
    throw new ConfigError([`${path}: ${why}, expected ${expected} by its name, or - and <FILE`]);
  }
}

function whyUnreadable(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.NotADirectory) return "no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.NotCapable) return "not covered by --allow-read";
  return `cannot be read (${error instanceof Error ? error.message : error})`;
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
