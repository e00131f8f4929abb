/**
 * Runs `test` for `count` seeds, or for the one in the environment variable SEED. A failure names
 * its seed.
 */
export function forSeeds(count: number, test: (seed: number) => void): void {
  const only = Deno.env.get("SEED");
  const seeds = only === undefined
    ? Array.from({ length: count }, (_, i) => i + 1)
    : [Number.parseInt(only)];
  for (const seed of seeds) {
    try {
      test(seed);
    } catch (cause) {
      throw new Error(`with SEED=${seed}: ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      });
    }
  }
}
