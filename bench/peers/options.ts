/**
 * The referee's command line.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Scenario, SCENARIOS } from "./scenarios.ts";
import { type Subject, SUBJECTS } from "./subjects.ts";

export interface Options {
  readonly subjects: readonly Subject[];
  readonly scenarios: readonly Scenario[];
  readonly rounds: number;
  readonly seconds: number;
  /** Whether the AEAD is measured by itself too. */
  readonly aead: boolean;
  /** Whether the verdict about a flow is measured by itself too. */
  readonly verdict: boolean;
  /** Pairs that are compared: this checkout's subject and the same from another one. */
  readonly pairs: readonly Pair[];
  /** Where the JSON goes; `-`: standard output. */
  readonly json: string | undefined;
}

/** Names of two subjects. */
export interface Pair {
  readonly now: string;
  readonly before: string;
}

/** Scenarios that need no gateway and no client. */
const BY_THEMSELVES = ["aead", "verdict"];
const QUICK_SUBJECTS = "newt-netstack2,wirestack";
const QUICK_SCENARIOS = "tcp-down-1,tcp-up-1,tcp-both-1,tcp-connect,rtt-loaded";
/** An older one may forward no pings. */
const OF_ANY_CHECKOUT = SCENARIOS.filter(({ needs }) => needs !== "ping").map(({ name }) => name)
  .join(",");

/** Ends the program, with what was expected, when it is called the wrong way. */
export function parseOptions(args: string[]): Options {
  try {
    return parse(args);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(2);
  }
}

function parse(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "string" },
      subjects: { type: "string" },
      scenarios: { type: "string" },
      versus: { type: "string" },
      rules: { type: "string" },
      rounds: { type: "string" },
      seconds: { type: "string" },
    },
  });
  const { quick, versus } = values;
  const scenarios = values.scenarios ??
    (quick ? QUICK_SCENARIOS : versus === undefined ? undefined : OF_ANY_CHECKOUT);
  const isByItself = (name: string) => scenarios?.split(",").includes(name);
  const names = scenarios?.split(",").filter((name) => !BY_THEMSELVES.includes(name)).join(",");
  const comparing = versus !== undefined || values.rules !== undefined;
  const [subjectsOf, rounds] = comparing
    ? ["wirestack", "7"]
    : [quick ? QUICK_SUBJECTS : undefined, quick ? "2" : "3"];
  const selected = select("subjects", SUBJECTS, values.subjects ?? subjectsOf);
  if (versus !== undefined && values.rules !== undefined) {
    throw new Error("--rules: not with --versus, expected one of them");
  }
  const { subjects, pairs } = values.rules === undefined
    ? against(versus, selected)
    : besideRules(positive("rules", values.rules), selected);
  return {
    subjects,
    pairs,
    scenarios: names === "" ? [] : select("scenarios", SCENARIOS, names),
    rounds: positive("rounds", values.rounds ?? rounds),
    seconds: positive("seconds", values.seconds ?? "5"),
    aead: isByItself("aead") ?? !comparing,
    verdict: isByItself("verdict") ?? !comparing,
    json: values.json,
  };
}

/** Puts beside each of our subjects the same from another checkout. */
function against(
  versus: string | undefined,
  subjects: readonly Subject[],
): Pick<Options, "subjects" | "pairs"> {
  if (versus === undefined) return { subjects, pairs: [] };
  let directory;
  try {
    directory = Deno.realPathSync(versus);
    Deno.statSync(`${directory}/deno.json`);
  } catch {
    throw new Error(`--versus: ${versus} is no checkout of this repository`);
  }
  const pairs: Pair[] = [];
  const all = subjects.flatMap((subject) => {
    const other = subject.from?.(directory);
    if (other === undefined) return [subject];
    pairs.push({ now: subject.name, before: other.name });
    return [other, subject];
  });
  if (pairs.length === 0) throw new Error("--versus: none of the subjects is from a checkout");
  return { subjects: all, pairs };
}

/** Puts beside each of our subjects the same with rules. */
function besideRules(
  count: number,
  subjects: readonly Subject[],
): Pick<Options, "subjects" | "pairs"> {
  const pairs: Pair[] = [];
  const all = subjects.flatMap((subject) => {
    const ruled = subject.withRules?.(count);
    if (ruled === undefined) return [subject];
    pairs.push({ now: ruled.name, before: subject.name });
    return [subject, ruled];
  });
  if (pairs.length === 0) throw new Error("--rules: none of the subjects has rules");
  return { subjects: all, pairs };
}

/** Those of the names given, in the table's order; all when none are given. */
function select<T extends { name: string }>(
  option: string,
  table: readonly T[],
  list: string | undefined,
): readonly T[] {
  if (list === undefined) return table;
  const names = list.split(",");
  for (const name of names) {
    if (!table.some((entry) => entry.name === name)) {
      const known = table.map((entry) => entry.name).join(", ");
      throw new Error(`--${option}: no "${name}", but ${known}`);
    }
  }
  return table.filter(({ name }) => names.includes(name));
}

function positive(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) {
    throw new Error(`--${option}: ${text} is not a whole number above 0`);
  }
  return Number(text);
}
