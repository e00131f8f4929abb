/**
 * Limits of time, on a machine that has others to serve meanwhile.
 *
 * @module
 */

/** What no lateness explains, say that something got through: it is not tried again. */
export class Defect extends Error {}

/**
 * For a limit of time that holds on a free machine: what fails may have come too late, and is tried again.
 * What is wrong with the program fails each time, or is a {@link Defect}.
 */
export async function tries<T>(count: number, fn: () => Promise<T>): Promise<T> {
  for (let left = count - 1; left > 0; left--) {
    try {
      return await fn();
    } catch (error) {
      if (error instanceof Defect) throw error;
      console.log(`again: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  return await fn();
}
