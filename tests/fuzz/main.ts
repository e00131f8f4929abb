/**
 * The fuzzers on the command line: `deno task fuzz [TARGET…] [--seconds N] [--seed N] [--cases N]`.
 * Ends with status 1 if anything was found; each finding says how to see it again.
 *
 * @module
 */

import { Command, InvalidArgumentError } from "npm:commander@15.1.0";
import { type Outcome, runTarget, type Target } from "./target.ts";
import { TARGETS } from "./targets.ts";

interface Options {
  seconds?: number;
  seed?: number;
  cases?: number;
}

const DEFAULT_SECONDS = 10;
/** Seeds start anywhere, so that each run tries something new. */
const SEEDS = 2 ** 31;

function fuzz(names: string[], options: Options): void {
  const unknown = names.find((name) => !TARGETS.some((target) => target.name === name));
  if (unknown !== undefined) {
    program.error(`error: no target ${unknown}, expected one of ${TARGETS.map(nameOf).join(", ")}`);
  }
  const targets = names.length === 0 ? TARGETS : TARGETS.filter(({ name }) => names.includes(name));
  const seed = options.seed ?? Math.floor(Math.random() * SEEDS);
  const { cases } = options;
  const seconds = options.seconds ?? (cases === undefined ? DEFAULT_SECONDS : Infinity);
  for (const target of targets) {
    report(target, runTarget(target, { seed, cases, milliseconds: 1_000 * seconds }));
  }
}

function report(target: Target, outcome: Outcome): void {
  const { cases, executions, elapsedMs, finding } = outcome;
  const perSecond = Math.round(executions / elapsedMs * 1_000);
  const done = `${executions} executions in ${cases} cases, ${(elapsedMs / 1_000).toFixed(1)} s, ` +
    `${perSecond}/s`;
  if (finding === undefined) {
    console.log(`${target.name}: ${done}, no finding`);
    return;
  }
  console.log(`${target.name}: FINDING with seed ${finding.seed} after ${done}`);
  console.log(finding.error.stack);
  console.log(`again: deno task fuzz ${target.name} --seed ${finding.seed} --cases 1`);
  Deno.exitCode = 1;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("expected a number above 0");
  return value;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError("expected a whole number");
  }
  return value;
}

function nameOf(target: Target): string {
  return target.name;
}

const program = new Command("fuzz")
  // It would ask the environment, for which there is no permission.
  .configureOutput({ getOutHasColors: () => false, getErrHasColors: () => false })
  .description("Tries what nobody thought of.")
  .argument("[target...]", "what to fuzz; default: everything")
  .option("--seconds <n>", `how long each target is run; default: ${DEFAULT_SECONDS}`, positive)
  .option("--seed <n>", "seed of the first case; default: a random one", whole)
  .option("--cases <n>", "how many cases of each target at most", whole)
  .addHelpText("after", `\nTargets:\n${TARGETS.map((t) => `  ${t.name}: ${t.about}\n`).join("")}`)
  .action(fuzz);
program.parse(Deno.args, { from: "user" });
