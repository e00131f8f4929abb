/**
 * A file of state as an earlier run has left it.
 *
 * @module
 */

/**
 * @param maxBytes A larger one is not this program's.
 * @returns undefined if there is none.
 * @throws {Error} of the system, or if it is larger.
 */
export function readStateFile(path: string, maxBytes: number): string | undefined {
  try {
    if (Deno.statSync(path).size > maxBytes) throw new Error(`${path}: larger than expected`);
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
