/**
 * Tests that need a program of this machine's.
 *
 * @module
 */

/** Registers a test that needs a program: skipped where it is missing, but in CI. */
export function programTest(program: string, name: string, fn: () => Promise<void>): void {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  const isThere = path.some((folder) => {
    try {
      return Deno.statSync(`${folder}/${program}`).isFile;
    } catch {
      return false;
    }
  });
  const ignore = !isThere && Deno.env.get("CI") !== "true";
  Deno.test({ name: ignore ? `${name} [skipped: no ${program}]` : name, ignore, fn });
}
