/**
 * Processes that tests start: none outlives its test file, however that ends.
 *
 * @module
 */

const children = new Set<Deno.ChildProcess>();

globalThis.addEventListener("unload", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** Kills it at the end of the test file at the latest. */
export function ended(child: Deno.ChildProcess): Deno.ChildProcess {
  children.add(child);
  child.status.finally(() => children.delete(child));
  return child;
}
