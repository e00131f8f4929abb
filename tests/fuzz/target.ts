/** One kind of input that is fuzzed. */
export interface Target {
  readonly name: string;
  /** What is tried and what must hold, in one line. */
  readonly about: string;
  /**
   * Runs one case. Everything in it follows from `seed`, so it can be run again.
   *
   * @returns How many inputs were tried.
   * @throws A finding.
   */
  run(seed: number): number;
}

/** What came of running a target. */
export interface Outcome {
  readonly cases: number;
  /** Inputs tried. */
  readonly executions: number;
  readonly elapsedMs: number;
  readonly finding: Finding | undefined;
}

export interface Finding {
  readonly seed: number;
  readonly error: Error;
}

export interface Limits {
  /** Seed of the first case; the others follow it one by one. */
  readonly seed: number;
  readonly cases?: number;
  readonly milliseconds?: number;
}

/** Runs cases until a limit is reached or one of them finds something. */
export function runTarget(target: Target, limits: Limits): Outcome {
  const { seed, cases: most = Infinity, milliseconds = Infinity } = limits;
  const start = performance.now();
  let executions = 0;
  let cases = 0;
  let finding: Finding | undefined;
  while (cases < most && performance.now() - start < milliseconds) {
    const current = seed + cases++;
    try {
      executions += target.run(current);
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause), { cause });
      finding = { seed: current, error };
      break;
    }
  }
  return { cases, executions, elapsedMs: performance.now() - start, finding };
}
