/**
 * Files that a process has been started with as descriptors: `program /dev/fd/3 3<file`. Deno opens
 * `/dev/fd` for pipes alone.
 *
 * @module
 */

import { Errno, openLibc } from "./libc.ts";

const CALLS = {
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
} as const satisfies Deno.ForeignLibraryInterface;

const CHUNK = 65536;

/**
 * The whole content of a regular file, from its beginning wherever the descriptor is.
 *
 * @param limit Bytes.
 * @throws {Error} without `--allow-ffi`, if it cannot be read, or beyond the limit.
 */
export function readDescriptor(descriptor: number, limit: number): Uint8Array {
  const { symbols, errno, close } = openLibc(CALLS);
  try {
    const content = new Uint8Array(limit);
    const buffer = new Uint8Array(CHUNK);
    for (let offset = 0; offset <= limit;) {
      const length = Number(symbols.pread(descriptor, buffer, BigInt(CHUNK), BigInt(offset)));
      if (length < 0) {
        if (errno() === Errno.EINTR) continue;
        throw new Error(`descriptor ${descriptor} cannot be read (errno ${errno()})`);
      }
      if (length === 0) return content.slice(0, offset);
      if (offset + length > limit) break;
      content.set(buffer.subarray(0, length), offset);
      offset += length;
    }
    throw new Error(`descriptor ${descriptor} holds more than ${limit} bytes`);
  } finally {
    close();
  }
}
