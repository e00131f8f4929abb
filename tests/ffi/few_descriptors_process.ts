/**
 * A process with few descriptors: waits for a pipe by a thread while there are none for a stream, and
 * prints for each of four wakes whether the wait before it was on a thread.
 *
 * @module
 */

import { DescriptorWait, tryStreams } from "../../ffi/descriptor_wait.ts";
import { openLibc } from "../../ffi/libc.ts";

const CALLS = {
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
} as const;
/** Enough to open the library and an eventfd, not for a stream. */
const LEFT = 2;

if (import.meta.main) {
  const { symbols } = openLibc(CALLS);
  const pipe = new Int32Array(32);
  const byte = new Uint8Array(128);
  symbols.pipe2(new Uint8Array(pipe.buffer), 0o4000);
  await tryStreams();
  const files: Deno.FsFile[] = [];
  try {
    for (;;) files.push(Deno.openSync("/dev/null"));
  } catch {
    for (const file of files.splice(-LEFT)) file.close();
  }
  const wait = new DescriptorWait(pipe[0]!);
  const seen: boolean[] = [];
  for (let i = 0; i < 4; i++) {
    if (i === 2) { for (const file of files) file.close(); }
    seen.push(wait.isOnThread);
    const woken = new Promise<void>((resolve) => wait.wait(resolve));
    symbols.write(pipe[1]!, byte, 1n);
    await woken;
    symbols.read(pipe[0]!, byte, 1n);
  }
  console.log(JSON.stringify(seen));
  await wait.close();
}
