/**
 * What of a time is the machine's, which has others to serve meanwhile.
 *
 * @module
 */

import { processIds } from "./lab.ts";

/** How long the lab's processes have had to wait for a processor since this was made. */
export class Waiting {
  readonly #threads = threads();
  readonly #stolen = stolen();

  /** In all, ms: by so much a time may be longer than what the program itself needs. */
  get ms(): number {
    let sum = stolen() - this.#stolen;
    for (const [pid, now] of threads()) {
      const before = this.#threads.get(pid);
      // The threads of a process may wait at the same time.
      sum += Math.max(0, ...Array.from(now, ([id, ms]) => ms - (before?.get(id) ?? 0)));
    }
    return sum;
  }
}

/** What each thread of each process has waited, ms: the second figure of `/proc/PID/schedstat`. */
function threads(): Map<number, Map<string, number>> {
  return new Map(processIds().map((pid) => [pid, waited(pid)]));
}

function waited(pid: number): Map<string, number> {
  const found = new Map<string, number>();
  try {
    for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
      const [, ns] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
      found.set(name, Number(ns) / 1e6);
    }
  } catch { /* it has ended meanwhile, or the kernel does not count */ }
  return found;
}

/** What another virtual machine has had of this one's processors, ms (proc_stat(5)). */
function stolen(): number {
  const [first] = Deno.readTextFileSync("/proc/stat").split("\n");
  return Number(first!.trim().split(/ +/)[8] ?? 0) * 10;
}
