/**
 * The text of a file that a configuration is in, or names: bounded, whatever the name leads to.
 *
 * @module
 */

import { decodeKey } from "../base64.ts";
import { descriptorOf, isDescriptor } from "./descriptor.ts";
import { ConfigError } from "./error.ts";
import { MAX_CONFIG_BYTES } from "./limits.ts";
import { shownPath } from "./values.ts";

/** Texts of files that somebody else has read, by their whole path. */
export type Texts = ReadonlyMap<string, string>;

export interface ReadLimits {
  /** Default {@link MAX_CONFIG_BYTES}. */
  readonly bytes?: number;
  /**
   * Whether to read a pipe with a name, which is waited for until somebody has written to it. Default
   * false. A descriptor may be one in any case: what is at its other end runs already.
   */
  readonly pipes?: boolean;
}

/**
 * @param expected What the file should be, for the message.
 * @throws {ConfigError} if there is no such file, or it cannot be read, or is not text.
 */
export async function readFileText(
  path: string,
  expected: string,
  limits: ReadLimits = {},
): Promise<string> {
  return textOf(await readBytes(path, expected, limits), path, expected);
}

/** @throws {ConfigError} if it is no text, or of more bytes than a configuration. */
export function textOf(bytes: Uint8Array, path: string, expected: string): string {
  const name = shownPath(path);
  if (bytes.length > MAX_CONFIG_BYTES) throw tooLong(name, expected, MAX_CONFIG_BYTES);
  if (bytes.includes(0)) throw new ConfigError([`${name}: is not text, expected ${expected}`]);
  return new TextDecoder().decode(bytes);
}

async function readBytes(
  path: string,
  expected: string,
  { bytes: limit = MAX_CONFIG_BYTES, pipes = false }: ReadLimits,
): Promise<Uint8Array> {
  if (decodeKey(path) !== undefined) {
    // The user gave the key itself instead of a file: it must not get into a log.
    throw new ConfigError([`(withheld): is a key, expected the name of ${expected}`]);
  }
  const name = shownPath(path);
  try {
    const { isDirectory, isFile, isFifo, size } = await Deno.stat(path);
    if (isDirectory) throw new ConfigError([`${name}: is a directory, expected ${expected}`]);
    if (isFifo && !pipes && !isDescriptor(path)) {
      throw new ConfigError([
        `${name}: is a pipe, which is read at the start alone, expected ${expected}`,
      ]);
    }
    if (!isFile && !isFifo) {
      throw new ConfigError([`${name}: is not a file, expected ${expected}`]);
    }
    if (size > limit) throw tooLong(name, expected, limit, size);
    using file = await Deno.open(path);
    const bytes = await readAtMost(file.readable, limit + 1);
    if (bytes.length > limit) throw tooLong(name, expected, limit);
    return bytes;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const descriptor = descriptorOf(path);
    if (descriptor !== undefined && error instanceof Deno.errors.NotCapable) {
      return await readRedirected(path, descriptor, expected);
    }
    throw new ConfigError([`${name}: ${whyUnreadable(error)}, expected ${expected}`]);
  }
}

/** The beginning of a stream, of `limit` bytes at most. What comes behind it is not waited for. */
export async function readAtMost(
  stream: ReadableStream<Uint8Array>,
  limit: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk.subarray(0, limit - length));
    length += chunk.length;
    if (length >= limit) break;
  }
  return await new Blob(chunks as Uint8Array<ArrayBuffer>[]).bytes();
}

function tooLong(name: string, expected: string, limit: number, size?: number): ConfigError {
  const what = size === undefined ? "more than that" : `${size} bytes`;
  const most = limit === MAX_CONFIG_BYTES
    ? `of ${MAX_CONFIG_BYTES >> 20} MB at most`
    : `and all files together of ${MAX_CONFIG_BYTES >> 20} MB at most`;
  return new ConfigError([`${name}: has ${what}, expected ${expected}, ${most}`]);
}

/** Deno opens a descriptor if it is a pipe. A file takes the C library. */
async function readRedirected(
  path: string,
  descriptor: number,
  expected: string,
): Promise<Uint8Array> {
  const { readDescriptor } = await import("../../ffi/mod.ts");
  try {
    return readDescriptor(descriptor, MAX_CONFIG_BYTES);
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
  const { code } = error as { code?: unknown };
  if (code === "ELOOP") return "is a link that leads to itself";
  return `cannot be read (${typeof code === "string" ? code : (error as Error).name})`;
}
