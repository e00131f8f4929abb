/**
 * Limits of time, on a machine that has others to serve meanwhile.
 *
 * @module
 */

/**
 * For a limit of time that holds on a free machine: what fails may have come too late, and is tried again.
 * What is wrong with the program fails each time.
 */
export async function tries<T>(count: number, fn: () => Promise<T>): Promise<T> {
  for (let left = count - 1; left > 0; left--) {
    try {
      return await fn();
    } catch (error) {
      console.log(`again: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  return await fn();
}
