/**
 * What a start leaves behind.
 *
 * @module
 */

import process from "node:process";

/** V8's own, where `--expose-gc` is set, as the tasks that start a gateway and the executable have it. */
type Collect = (options: { type: "major"; flavor: "last-resort" }) => void;

/** How often to look, and how much of a core the process may have taken meanwhile. */
const LOOK_MS = 5_000;
const QUIET = 0.02;

/**
 * Gives back what the start has used and nothing needs any more: a young generation that loading the
 * program had grown, 8 MB of it, stays as it is until packets fill it, or V8 finds the time. Once, and
 * when the process is quiet, for it takes some 100 ms.
 *
 * @param used What the process has taken so far, ms of a core.
 * @returns ends the waiting for that.
 */
export function collectWhenQuiet(
  collect = (globalThis as { readonly gc?: Collect }).gc,
  used = cpuMs,
  lookMs = LOOK_MS,
): () => void {
  if (collect === undefined) return () => {};
  let before = used();
  const timer = setInterval(() => {
    const now = used();
    const isQuiet = now - before < QUIET * lookMs;
    before = now;
    if (!isQuiet) return;
    clearInterval(timer);
    collect({ type: "major", flavor: "last-resort" });
  }, lookMs);
  return () => clearInterval(timer);
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
