/**
 * What is measured, and how: each scenario is a run of the load's client against a gateway that was
 * started for it.
 *
 * @module
 */

import type { Process } from "../../tests/e2e/process.ts";
import { between, read, type Reading, residentBytes, tcpTimeouts, type Usage } from "./cpu.ts";
import type { Start, Subject } from "./subjects.ts";
import { listening, onGatewayCore, type Topology } from "./topology.ts";

/** What a run is worth, by the names of the referee's JSON. What does not apply is missing. */
export interface Figures {
  mbps?: number;
  cpu_s_per_gb?: number;
  rss_mb?: number;
  p50_us?: number;
  p99_us?: number;
  per_s?: number;
  ms?: number;
}

export interface Sample {
  readonly figures: Figures;
  /** Of the interval measured; undefined where nothing but time is. */
  readonly usage?: Usage;
  readonly note?: string;
}

/** What not every subject has. */
export type Need = "udp" | "ping" | "start";

export interface Scenario {
  readonly name: string;
  readonly needs?: Need;
  /** Whether a CPU is meant to be full: then a gateway that idles was not the limit. */
  readonly saturates: boolean;
  /** Fewer rounds are enough for what hardly varies and takes long. */
  readonly rounds?: number;
  run(test: Test): Promise<Sample>;
}

export interface Test {
  readonly topology: Topology;
  readonly subject: Subject;
  readonly start: Start;
  /** The program of the clients. */
  readonly load: string;
  readonly seconds: number;
}

const WARM_UP_S = 1.5;
/** Of the longest silence of a client: a search for a packet rate. */
const PATIENCE_MS = 90_000;
const IDLE_CONNECTIONS = 10_000;
/** V8 collects garbage when a program has been idle for some 20 s. */
const SETTLE_S = 25;

export const SCENARIOS: readonly Scenario[] = [
  bulk("tcp-down-1", "down", 1),
  bulk("tcp-up-1", "up", 1),
  bulk("tcp-both-1", "both", 1),
  bulk("tcp-down-32", "down", 32),
  bulk("tcp-up-32", "up", 32),
  loaded("tcp-connect", true, ["connect", "--connections", "16"]),
  loaded("rtt-idle", false, ["rtt"]),
  {
    name: "rtt-loaded",
    saturates: true,
    run: (test) => withLoad(test, ["rtt", "--loaded", "--direction", towards(test, "down")]),
  },
  // The flow beside it is the same for all: what is compared is the wait, not what fills the client.
  loaded("rtt-paced", false, ["rtt", "--loaded", "--direction", "paced"]),
  { ...loaded("udp-64", true, ["udp", "--size", "64"]), needs: "udp" },
  { ...loaded("udp-1400", true, ["udp", "--size", "1392"]), needs: "udp" },
  { ...loaded("ping-1000", false, ["ping", "--size", "56"]), needs: "ping" },
  { name: "idle-10k", saturates: false, rounds: 1, run: idle },
  { name: "start", needs: "start", saturates: false, run: start },
];

function bulk(name: string, direction: Direction, connections: number): Scenario {
  return {
    name,
    saturates: true,
    run: (test) =>
      withLoad(test, [
        ...["bulk", "--direction", towards(test, direction)],
        ...["--connections", `${connections}`],
      ]),
  };
}

function loaded(name: string, saturates: boolean, args: string[]): Scenario {
  return { name, saturates, run: (test) => withLoad(test, args) };
}

type Direction = "down" | "up" | "both";

/** The load's direction, from which side of the gateway its client is on. */
function towards({ subject }: Test, direction: Direction): Direction {
  if (!subject.reversed || direction === "both") return direction;
  return direction === "down" ? "up" : "down";
}

/** What the load's client prints at the end of what it measured. */
interface Result {
  readonly mark: "begin" | "end";
  readonly seconds?: number;
  readonly active?: number;
  readonly bytes?: number;
  readonly count?: number;
  readonly p50_us?: number;
  readonly p99_us?: number;
  readonly note?: string;
}

async function withLoad(test: Test, args: string[]): Promise<Sample> {
  await using gateway = await Running.start(test);
  const client = gateway.client([
    ...args,
    ...["--warmup", `${WARM_UP_S}s`, "--length", `${test.seconds}s`],
  ]);
  const { result, usage, timeouts } = await gateway.watch(client);
  const seconds = result.active ?? result.seconds!;
  const figures: Figures = {
    rss_mb: residentBytes(gateway.process.pid) / 1e6,
    p50_us: result.p50_us,
    p99_us: result.p99_us,
  };
  if (result.bytes !== undefined) {
    figures.mbps = result.bytes * 8 / seconds / 1e6;
    // Read a moment after the load's own clock: what counts is the share of the CPU.
    figures.cpu_s_per_gb = usage.gateway * result.seconds! / (result.bytes / 1e9);
  }
  if (result.count !== undefined) figures.per_s = result.count / seconds;
  // What a low figure with no core full is due to.
  const notes = [result.note, timeouts].filter((note) => note !== undefined);
  return { figures, usage, note: notes.length > 0 ? notes.join(", ") : undefined };
}

/** Memory with connections that have said something once. */
async function idle(test: Test): Promise<Sample> {
  await using gateway = await Running.start(test);
  const client = gateway.client(["idle", "--connections", `${IDLE_CONNECTIONS}`]);
  await gateway.alive(said(client, /"begin"/));
  const before = read(gateway.process.pid);
  let least = Infinity;
  for (let second = 0; second < SETTLE_S; second++) {
    await gateway.alive(new Promise((resolve) => setTimeout(resolve, 1000)));
    least = Math.min(least, residentBytes(gateway.process.pid));
  }
  const usage = between(before, read(gateway.process.pid));
  return { figures: { rss_mb: least / 1e6 }, usage };
}

/** From exec until the port is bound, by a program on that host that does nothing but watch. */
async function start({ topology, subject, start, load }: Test): Promise<Sample> {
  const { network, port } = subject.listens;
  const watcher = topology.gateway.spawn("start", [
    ...[load, "start", "--network", network, "--port", `${port}`, "--"],
    ...onGatewayCore(start.command),
  ], { input: start.input });
  try {
    const [line] = await said(watcher, /^.*"end".*$/);
    return { figures: { ms: JSON.parse(line).seconds * 1000 } };
  } finally {
    await watcher[Symbol.asyncDispose]();
  }
}

/** A line of one of our programs. @throws what it says is wrong, when it ends without */
async function said(program: Process, pattern: RegExp, from = 0): Promise<RegExpMatchArray> {
  try {
    return await program.line(pattern, { from, timeoutMs: PATIENCE_MS });
  } catch (error) {
    const reason = program.lines.find((line) => line.startsWith("load: "));
    throw reason === undefined ? error : new Error(reason.slice("load: ".length));
  }
}

/** A gateway that was started for one run, with the tunnel to it. */
class Running implements AsyncDisposable {
  readonly process: Process;
  readonly #test: Test;
  readonly #resources: AsyncDisposableStack;
  /** Rejects when the gateway ends. */
  readonly #died: Promise<never>;

  private constructor(test: Test, process: Process, resources: AsyncDisposableStack) {
    this.#test = test;
    this.process = process;
    this.#resources = resources;
    this.#died = process.status.then(({ code, signal }) => {
      const last = process.lines.at(-1) ?? "it said nothing";
      throw new Error(`the gateway ended: ${signal ?? `status ${code}`}: ${last}`);
    });
    this.#died.catch(() => {}); // it ends with the run at the latest
  }

  static async start(test: Test): Promise<Running> {
    await using resources = new AsyncDisposableStack();
    const { topology, subject, start } = test;
    const tunnel = await topology.tunnel(!subject.reversed);
    resources.defer(() => tunnel.stop());
    const process = resources.use(
      topology.gateway.spawn(subject.name, onGatewayCore(start.command), { input: start.input }),
    );
    await start.configure?.();
    await listening(process, subject.listens);
    return new Running(test, process, resources.move());
  }

  /** Starts the load's client. It ends with the run. */
  client([command, ...args]: string[]): Process {
    const { topology, subject, load } = this.#test;
    const host = subject.reversed ? topology.site : topology.client;
    return this.#resources.use(
      host.spawn("load", [
        ...[load, command!, "--target", subject.target, "--counter", topology.counter],
        ...args,
      ]),
    );
  }

  /** What the client measured, and what the gateway used meanwhile. */
  async watch(
    client: Process,
  ): Promise<{ result: Result; usage: Usage; timeouts: string | undefined }> {
    let before: Reading | undefined;
    let timeoutsBefore: number[] = [];
    const timeouts = () => [client.pid, this.process.pid].map(tcpTimeouts);
    for (let from = 0;;) {
      const [line] = await this.alive(said(client, /^\{"mark".*$/, from));
      from = client.lines.indexOf(line, from) + 1;
      const now = read(this.process.pid);
      const result: Result = JSON.parse(line);
      if (result.mark === "end") {
        const [ofClient, ofGateway] = timeouts().map((count, i) => count - timeoutsBefore[i]!);
        const some = ofClient! + ofGateway! > 0;
        return {
          result,
          usage: between(before!, now),
          timeouts: some
            ? `kernels' TCP timed out: client's ${ofClient}, gateway's ${ofGateway}`
            : undefined,
        };
      }
      before = now; // a client may begin again
      timeoutsBefore = timeouts();
    }
  }

  /** Awaits something, unless the gateway ends before. */
  async alive<T>(something: Promise<T>): Promise<T> {
    return await Promise.race([something, this.#died]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
  }
}
