/**
 * Versions: of the package, and of the Deno that it needs.
 *
 * @module
 */

/** The version of the package, as in deno.json. */
export const VERSION = "0.1.0";

/**
 * The oldest that does what is needed (docs/configuration.md, "Versions of Deno", has what was run with
 * which). 2.7.14 ends with a panic at the first connection that is opened over `node:net`; 2.8.0 starts
 * this program once, and from its cache of compiled code no more (denoland/deno#34307).
 */
export const OLDEST_DENO = "2.8.1";

/** @returns what is wrong with a version of Deno, in one line; undefined if it will do. */
export function denoProblem(version: string, oldest = OLDEST_DENO): string | undefined {
  const [is, needed] = [version, oldest].map((text) => text.split(/[.+-]/).map(Number));
  for (let part = 0; part < 3; part++) {
    // A part that is no number belongs to an unreleased version: its user knows what it can do.
    const difference = is![part]! - needed![part]!;
    if (difference < 0) return `needs Deno ${oldest} or newer, this is ${version}`;
    if (difference !== 0) return undefined;
  }
  return undefined;
}
