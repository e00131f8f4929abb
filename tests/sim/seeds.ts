import { isCi } from "../ci.ts";

/**
 * How many seeds of a long test to run: all in CI, elsewhere a quarter, so that `task test` is short.
 */
export function longSeeds(count: number): number {
  return isCi() ? count : Math.ceil(count / 4);
}

/**
 * Runs `test` for `count` seeds, or for the one in the environment variable SEED. A failure names
 * its seed.
 */
export function forSeeds(count: number, test: (seed: number) => void): void {
  for (const seed of seeds(count)) {
    try {
      test(seed);
    } catch (cause) {
      throw withSeed(seed, cause);
    }
  }
}

/** As {@link forSeeds}, for a test that waits: one seed after the other. */
export async function forSeedsInTurn(
  count: number,
  test: (seed: number) => Promise<void>,
): Promise<void> {
  for (const seed of seeds(count)) {
    try {
      await test(seed);
    } catch (cause) {
      throw withSeed(seed, cause);
    }
  }
}

function seeds(count: number): number[] {
  const only = Deno.env.get("SEED");
  return only === undefined
    ? Array.from({ length: count }, (_, i) => i + 1)
    : [Number.parseInt(only)];
}

function withSeed(seed: number, cause: unknown): Error {
  const message = cause instanceof Error ? cause.message : `${cause}`;
  return new Error(`with SEED=${seed}: ${message}`, { cause });
}
