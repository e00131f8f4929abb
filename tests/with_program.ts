/**
 * Tests that need a program of this machine's.
 *
 * @module
 */

import { isCi } from "./ci.ts";

/** Those of these programs that are not in PATH. */
export function notInstalled(programs: readonly string[]): string[] {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  return programs.filter((program) =>
    !path.some((directory) => {
      try {
        return Deno.statSync(`${directory}/${program}`).isFile;
      } catch {
        return false;
      }
    })
  );
}

/** Registers a test that needs a program: skipped where it is missing, but in CI. */
export function programTest(program: string, name: string, fn: () => Promise<void>): void {
  const ignore = notInstalled([program]).length > 0 && !isCi();
  Deno.test({ name: ignore ? `${name} [skipped: no ${program}]` : name, ignore, fn });
}
