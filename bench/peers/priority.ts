/**
 * What the referee starts goes before whatever else the machine does, as far as Linux lets it.
 *
 * @module
 */

import { output } from "../../tests/e2e/process.ts";

const NICE = -10;
/** Where the kernel shares the CPU among sessions first, a process's own niceness is only within. */
const SESSION = "/proc/self/autogroup";

/** Pins this process, and what it starts from here on, to a core, and puts it first there. */
export async function prioritise(core: number): Promise<void> {
  await output(["taskset", "--all-tasks", "--cpu-list", "--pid", `${core}`, `${Deno.pid}`]);
  const threads = [...Deno.readDirSync("/proc/self/task")].map(({ name }) => name);
  await output(["renice", "--priority", `${NICE}`, "--pid", ...threads]);
  setSession(NICE);
}

/** The session may be a person's shell: it gets back what it had. */
export function unprioritise(): void {
  setSession(0);
}

function setSession(nice: number): void {
  try {
    Deno.writeTextFileSync(SESSION, `${nice}`);
  } catch { /* a kernel without sessions' groups */ }
}
