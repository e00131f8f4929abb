/**
 * The referee: this gateway and its peers, one after the other, over the same tunnel, from the same
 * client, to the same service.
 *
 *     deno task bench:peers [--quick] [--json FILE] [--subjects A,B] [--scenarios A,B]
 *                           [--rounds N] [--seconds N] [--versus DIRECTORY | --rules N]
 *
 * As root, on two cores. The peers are built from their published sources, with Go and Rust, into
 * $WIRESTACK_BENCH_CACHE, or else the user's cache directory, before anything is timed; what cannot
 * be built is left out, with the reason. `--quick` is newt's netstack2 and ourselves in the main
 * scenarios, under three minutes once all is built.
 *
 * In every round of a scenario each subject runs once, so that what changes on the machine meanwhile
 * meets all; a figure is the median of the rounds. CPU is that of the gateway's process tree, GB is
 * 10^9 bytes of payload, both directions together. The client of the tunnel is the newest
 * wireguard-go with the kernel's TCP, on the core that the gateway does not have; a row tells how
 * busy either core was. The other programs of the load are ours (go/load).
 *
 * `--versus DIRECTORY` compares this checkout with another one instead (pings only where their scenario
 * is named, for an older one may have none): seven rounds, so that each is a pair of runs one after the
 * other. Medians, least and greatest, and the ratios within the pairs are printed; what decides is the
 * median of the ratios of CPU per GB. Exit status 1 when one is above 1.03. `--rules N` compares in the
 * same way this checkout with N rules, none of them about the load, and without.
 *
 * `deno task bench:peers network` measures a path through two gateways instead: `network.ts`.
 *
 * The table goes to standard output; with `--json -` that gets nothing but JSON, and the table goes
 * to standard error.
 *
 * @module
 */

import { missing } from "../../tests/e2e/lab.ts";
import { aeadRows } from "./aead.ts";
import { buildOurs, buildWireguardGo } from "./build.ts";
import { tree } from "./cpu.ts";
import { compare, type Comparison, isAcceptable, toText } from "./compare.ts";
import { network } from "./network.ts";
import { type Options, parseOptions } from "./options.ts";
import { prioritise, unprioritise } from "./priority.ts";
import { type Row, summarise, toJson, toTable } from "./report.ts";
import { type Sample, type Scenario } from "./scenarios.ts";
import type { Built, Subject } from "./subjects.ts";
import { LOAD_CORE, Topology } from "./topology.ts";
import { verdictRows } from "./verdict.ts";

interface Contestant extends Built {
  readonly subject: Subject;
}

let topology: Topology | undefined;

if (import.meta.main) {
  if (Deno.args[0] === "network") Deno.exit(await network(Deno.args.slice(1)));
  const options = parseOptions(Deno.args);
  const reason = missing(["ip", "nft", "setpriv", "sysctl", "taskset", "wg"]) ??
    (navigator.hardwareConcurrency < 2 ? "needs two cores" : undefined);
  if (reason !== undefined) {
    console.error(`the referee makes network namespaces: ${reason}`);
    Deno.exit(1);
  }
  let stopping = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, async () => {
      if (stopping) return;
      stopping = true;
      await end();
      Deno.exit(130);
    });
  }
  try {
    await main(options);
  } catch (error) {
    if (!stopping) throw error;
    await new Promise(() => {}); // what fails now fails because all is being ended
  } finally {
    await topology?.[Symbol.asyncDispose]();
    unprioritise();
  }
}

async function main(options: Options): Promise<void> {
  const load = `${await buildOurs()}/load`;
  Deno.env.set("PATH", `${await buildWireguardGo()}:${Deno.env.get("PATH")}`);
  const rows: Row[] = [];
  const contestants: Contestant[] = [];
  for (const subject of options.subjects) {
    try {
      contestants.push({ subject, ...await subject.build() });
    } catch (error) {
      rows.push(...skipped(subject, options, messageOf(error)));
    }
  }
  await prioritise(LOAD_CORE);
  topology = await Topology.create(load);
  for (const { subject, note } of contestants) {
    for (const text of [subject.how, note]) if (text) progress(`${subject.name}: ${text}`);
  }
  for (const scenario of options.scenarios) {
    rows.push(...await play(scenario, contestants, topology, load, options));
  }
  if (options.aead) rows.push(...await aeadRows(load));
  if (options.verdict) rows.push(...await verdictRows());
  const order = options.scenarios.map(({ name }) => name);
  rows.sort((a, b) => place(order, a.scenario) - place(order, b.scenario));
  const comparisons = compare(rows, options.pairs);
  report(rows, comparisons, options);
  if (!comparisons.every(isAcceptable)) Deno.exitCode = 1;
}

/** All rounds of a scenario. */
async function play(
  scenario: Scenario,
  contestants: readonly Contestant[],
  topology: Topology,
  load: string,
  options: Options,
): Promise<Row[]> {
  const rows: Row[] = [];
  const results = new Map<Contestant, { samples: (Sample | undefined)[]; errors: string[] }>();
  for (const contestant of contestants) {
    const { name, lacks } = contestant.subject;
    const lack = scenario.needs && lacks[scenario.needs];
    if (lack === undefined) results.set(contestant, { samples: [], errors: [] });
    else {
      rows.push({
        scenario: scenario.name,
        subject: name,
        figures: {},
        notes: [`does not apply: ${lack}`],
      });
    }
  }
  const rounds = Math.min(options.rounds, scenario.rounds ?? Infinity);
  for (let round = 1; round <= rounds; round++) {
    // The other way round every second time: what drifts then favours nobody.
    const order = round % 2 === 1 ? [...results] : [...results].reverse();
    for (const [{ subject, prepare }, { samples, errors }] of order) {
      const what = `${scenario.name} ${subject.name} ${round}/${rounds}`;
      try {
        const { seconds } = options;
        const start = await prepare(topology);
        const sample = await scenario.run({ topology, subject, start, load, seconds });
        samples.push(sample);
        progress(`${what}: ${JSON.stringify(sample.figures)}`);
      } catch (error) {
        samples.push(undefined);
        errors.push(messageOf(error));
        progress(`${what}: ${messageOf(error)}`);
      }
    }
  }
  for (const [{ subject, note }, { samples, errors }] of results) {
    rows.push(summarise(scenario, subject.name, samples, errors, note));
  }
  return rows;
}

function skipped({ name }: Subject, { scenarios }: Options, reason: string): Row[] {
  progress(`${name}: skipped: ${reason}`);
  return scenarios.map(({ name: scenario }) => ({
    scenario,
    subject: name,
    figures: {},
    notes: [`skipped: ${reason}`],
  }));
}

function report(
  rows: readonly Row[],
  comparisons: readonly Comparison[],
  { json, pairs }: Options,
): void {
  const table = pairs.length === 0 ? toTable(rows) : `${toTable(rows)}${toText(comparisons)}`;
  const text = toJson(rows, comparisons);
  if (json === "-") {
    console.error(table);
    console.log(text.trimEnd());
    return;
  }
  console.log(table);
  if (json !== undefined) Deno.writeTextFileSync(json, text);
}

/** On a signal: kills what was started, builds too, and removes the hosts. */
async function end(): Promise<void> {
  for (const pid of tree(Deno.pid).slice(1)) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch { /* it has ended meanwhile */ }
  }
  await topology?.[Symbol.asyncDispose]();
  unprioritise();
}

/** Scenarios in the order asked for, then what is not one of them. */
function place(order: readonly string[], scenario: string): number {
  const index = order.indexOf(scenario);
  return index < 0 ? order.length : index;
}

function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split("\n")[0]!;
}

function progress(text: string): void {
  console.error(text);
}
