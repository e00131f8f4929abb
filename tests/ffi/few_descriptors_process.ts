/**
 * A process with few descriptors that waits for a pipe, as its argument says: "thread" has none for a stream
 * for two wakes, "in-place" too, in a process that may wait in place; "retry" is told that there are some;
 * "trial" has none while it is tried out whether streams do. It prints how many of its waits, the first
 * ones, were on a thread, and whether any was in place.
 *
 * @module
 */

import { DescriptorWait, tryStreams } from "../../ffi/descriptor_wait.ts";
import { openLibc } from "../../ffi/libc.ts";
import { turns } from "../../ffi/turns.ts";

const CALLS = {
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
} as const;
/** Enough for the library and an eventfd, not for a stream. */
const LEFT = 2;
const WAITS = 40;
/** Wakes that are 20 ms apart, as on a machine that is busy, are not waited for in place. */
const MAX_WAITS = 2_000;

if (import.meta.main) {
  const { symbols } = openLibc(CALLS);
  const pipe = new Int32Array(32);
  const byte = new Uint8Array(128);
  symbols.pipe2(new Uint8Array(pipe.buffer), 0o4000);
  const [how] = Deno.args;
  if (how === "in-place") turns.begin();
  if (how !== "trial") await tryStreams();
  const files: Deno.FsFile[] = [];
  try {
    for (;;) files.push(Deno.openSync("/dev/null"));
  } catch {
    if (how !== "trial") { for (const file of files.splice(-LEFT)) file.close(); }
  }
  const free = () => {
    for (const file of files.splice(0)) file.close();
  };
  if (how === "trial") {
    await tryStreams();
    free();
  }
  const wait = new DescriptorWait(pipe[0]!);
  await wait.tried;
  if (how === "retry") {
    free();
    wait.retry();
  }
  const seen: boolean[] = [];
  const isEnough = () => how !== "in-place" || turns.inPlace > 0;
  for (let i = 0; i < WAITS || !isEnough() && i < MAX_WAITS; i++) {
    if (i === 2) free();
    seen.push(wait.isOnThread);
    const woken = new Promise<void>((resolve) => wait.wait(resolve));
    setTimeout(() => void symbols.write(pipe[1]!, byte, 1n), 1);
    await woken;
    symbols.read(pipe[0]!, byte, 1n);
  }
  console.log(JSON.stringify({ onThread: seen.lastIndexOf(true) + 1, inPlace: turns.inPlace > 0 }));
  await wait.close();
}
