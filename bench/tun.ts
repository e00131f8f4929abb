/**
 * The referee for whole-system tunnels: TUN to TUN between two of ours, and between two wireguard-go,
 * in turns, over the same cable:
 *
 *     iperf3 ── TUN ── left  192.168.73.1 ── 192.168.73.2  right ── TUN ── iperf3
 *              10.9.1.1 ═══════════════ WireGuard ═══════════════ 10.9.1.2
 *
 *     deno task bench:tun [--rounds N] [--seconds N] [--streams 1,16] [--subjects A,B] [--json FILE]
 *
 * As root, on two cores, with iperf3: each host has one of them, for its tunnel and its iperf3. The
 * other wireguard-go is the newest, built from its published source before anything is timed; with
 * `debian` among the subjects the packaged one runs too. In every round each subject runs once in each
 * direction; a figure is the median of the rounds. CPU is that of both tunnels' processes together, GB is
 * 10^9 bytes of payload.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { eventually, type Host, Lab, missing } from "../tests/e2e/lab.ts";
import { withRun } from "../tests/e2e/own_run.ts";
import type { Process } from "../tests/e2e/process.ts";
import { type KeyPair, keyPair, peerSections } from "../tests/e2e/wireguard_go.ts";
import { buildWireguardGo } from "./peers/build.ts";
import { read } from "./peers/cpu.ts";
import { prioritise, unprioritise } from "./peers/priority.ts";
import { median } from "./peers/report.ts";
import { v8Flags } from "./v8_flags.ts";

const PORT = 51820;
const MTU = 1420;
export const SETTLE_MS = 1_000;
/** Seconds, in each direction. */
export const WARM_UP = 2;
const PINGS = 1_500;
const PINGS_PER_SECOND = 500;

/** A host with its core. */
export interface End {
  readonly host: Host;
  readonly core: number;
  /** Outside, and in the tunnel. */
  readonly outer: string;
  readonly inner: string;
  readonly keys: KeyPair;
  /** What ours has as /run. */
  readonly run: string;
}

interface Subject {
  readonly name: string;
  /** It sets addresses and MTU of the device by itself. */
  readonly configures?: boolean;
  /** @returns the process, once the device exists. */
  start(end: End, other: End, device: string): Promise<Process>;
}

export interface Sample {
  readonly megabits: number;
  /** Seconds per GB: of the sender's tunnel, and of the receiver's. */
  readonly sender: number;
  readonly receiver: number;
}

if (import.meta.main) {
  const reason = missing(["ip", "iperf3", "taskset", "wg"]);
  if (reason !== undefined) throw new Error(`the referee makes network namespaces: ${reason}`);
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
      streams: { type: "string", default: "1,16" },
      subjects: { type: "string", default: "wirestack,wireguard-go" },
      json: { type: "string" },
    },
  });
  const { rows, pings } = await main(
    Number(values.rounds),
    Number(values.seconds),
    values.streams.split(",").map(Number),
    values.subjects.split(","),
  ).finally(unprioritise);
  console.log(table(rows));
  for (const [name, samples] of pings) {
    const rtt = median(samples.map(({ microseconds }) => microseconds));
    const cpu = median(samples.map(({ cpuPerPing }) => cpuPerPing));
    console.log(`| ping | ${name} | ${rtt.toFixed(0)} µs | CPU ${cpu.toFixed(0)} µs |`);
  }
  if (values.json !== undefined) {
    Deno.writeTextFileSync(values.json, JSON.stringify({ rows, pings: [...pings] }));
  }
}

/** Of single packets at {@link PINGS_PER_SECOND}: half of all are faster, and CPU of both tunnels. */
interface PingSample {
  readonly microseconds: number;
  readonly cpuPerPing: number;
}

interface Results {
  readonly rows: Row[];
  readonly pings: Map<string, PingSample[]>;
}

interface Row {
  readonly subject: string;
  readonly streams: number;
  readonly direction: string;
  readonly samples: Sample[];
}

async function main(
  rounds: number,
  seconds: number,
  streams: number[],
  names: string[],
): Promise<Results> {
  const subjects: Subject[] = [];
  for (const name of names) subjects.push(await subjectOf(name));
  await prioritise(1); // whatever is started here moves to its own core
  await using lab = await Lab.create();
  const [left, right] = await cabled(lab);
  const rows: Row[] = [];
  for (const count of streams) {
    for (const direction of ["out", "back"]) {
      for (const { name } of subjects) {
        rows.push({ subject: name, streams: count, direction, samples: [] });
      }
    }
  }
  const pings = new Map<string, PingSample[]>(names.map((name) => [name, []]));
  let serial = 0;
  for (let round = 1; round <= rounds; round++) {
    for (const subject of round % 2 === 1 ? subjects : [...subjects].reverse()) {
      const tunnels: Process[] = [];
      for (const [end, other] of [[right, left], [left, right]] as const) {
        const device = `wst${Deno.pid}n${serial++}`;
        tunnels.push(await subject.start(end, other, device));
        if (subject.configures) continue;
        await end.host.addAddresses(device, [`${end.inner}/24`]);
        await end.host.ip(`link set ${device} mtu ${MTU} up`);
      }
      await using _iperf = right.host.spawn("iperf3", pinned(right, ["iperf3", "-s"]));
      await left.host.output(["ping", "-c", "1", "-w", "10", right.inner]);
      // What compiles itself while it runs, has.
      for (const isBack of [false, true]) await run(left, right, tunnels, 1, isBack, WARM_UP);
      for (const row of rows) {
        if (row.subject !== subject.name) continue;
        const isBack = row.direction === "back";
        const sample = await run(left, right, tunnels, row.streams, isBack, seconds);
        row.samples.push(sample);
        console.error(
          `${round}/${rounds} ${row.subject} ${row.streams} ${row.direction}: ` +
            `${sample.megabits.toFixed(0)} Mbit/s, ${sample.sender.toFixed(2)} + ` +
            `${sample.receiver.toFixed(2)} s/GB`,
        );
        await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      }
      pings.get(subject.name)!.push(await ping(left, right, tunnels));
      for (const tunnel of tunnels) await tunnel[Symbol.asyncDispose]();
    }
  }
  return { rows, pings };
}

/** Two hosts with a cable between their devices `cable`, and a core for each. */
export async function cabled(lab: Lab): Promise<[left: End, right: End]> {
  const ends: End[] = [];
  for (const core of [0, 1]) {
    const host = await lab.host(core === 0 ? "left" : "right");
    const [outer, inner] = [`192.168.73.${core + 1}`, `10.9.1.${core + 1}`];
    const run = `${lab.directory}/${host.label}`;
    await Deno.mkdir(`${run}/wireguard`, { recursive: true });
    ends.push({ host, core, outer, inner, keys: await keyPair(), run });
  }
  const [left, right] = ends as [End, End];
  await lab.connect(
    { host: left.host, device: "cable", addresses: [`${left.outer}/24`] },
    { host: right.host, device: "cable", addresses: [`${right.outer}/24`] },
  );
  return [left, right];
}

async function ping(left: End, right: End, tunnels: readonly Process[]): Promise<PingSample> {
  const cpu = () => tunnels.reduce((sum, { pid }) => sum + read(pid).gateway, 0);
  const before = cpu();
  const command = ["ping", "-c", `${PINGS}`, "-i", `${1 / PINGS_PER_SECOND}`, right.inner];
  const text = await left.host.output(pinned(left, command), { timeoutMs: 60_000 });
  const times = [...text.matchAll(/time=([0-9.]+) ms/g)].map(([, ms]) => Number(ms) * 1000);
  return { microseconds: median(times), cpuPerPing: (cpu() - before) / PINGS * 1e6 };
}

/** Sends by iperf3, `isBack` from the right to the left. */
export async function run(
  left: End,
  right: End,
  tunnels: readonly Process[],
  streams: number,
  isBack: boolean,
  seconds: number,
): Promise<Sample> {
  const cpu = () => tunnels.map(({ pid }) => read(pid).gateway);
  const before = cpu();
  const command = [
    ...["iperf3", "-J", "-c", right.inner, "-P", `${streams}`, "-t", `${seconds}`],
    ...isBack ? ["-R"] : [],
  ];
  const text = await left.host.output(pinned(left, command), { timeoutMs: (seconds + 20) * 1000 });
  const [rightSeconds, leftSeconds] = cpu().map((value, i) => value - before[i]!);
  const { bytes, bits_per_second } = JSON.parse(text).end.sum_received;
  const gigabytes = bytes / 1e9;
  const [sender, receiver] = isBack ? [rightSeconds, leftSeconds] : [leftSeconds, rightSeconds];
  return {
    megabits: bits_per_second / 1e6,
    sender: sender! / gigabytes,
    receiver: receiver! / gigabytes,
  };
}

export function pinned({ core }: End, command: readonly string[]): string[] {
  return ["taskset", "--cpu-list", `${core}`, ...command];
}

async function subjectOf(name: string): Promise<Subject> {
  if (name === "wirestack") return { name, start: startOurs, configures: true };
  if (name === "debian") return wireguardGo(name, "wireguard-go");
  if (name === "wireguard-go") {
    return wireguardGo(name, `${await buildWireguardGo()}/wireguard`);
  }
  throw new RangeError(`a subject is wirestack, wireguard-go or debian, not "${name}"`);
}

function startOurs(end: End, other: End, device: string): Promise<Process> {
  const text = [
    ...["[Interface]", `PrivateKey = ${end.keys.privateKey}`, `Address = ${end.inner}/24`],
    ...[`ListenPort = ${PORT}`, `MTU = ${MTU}`, ""],
    peerSections([{
      publicKey: other.keys.publicKey,
      allowedIps: [`${other.inner}/32`],
      endpoint: `${other.outer}:${PORT}`,
    }]),
  ];
  return startUp(end, device, text.join("\n"));
}

/** Ours, as people start it. @param text Its configuration. @returns once the device has its address. */
export async function startUp(end: End, device: string, text: string): Promise<Process> {
  const { host } = end;
  const file = await Deno.makeTempFile({ suffix: ".conf" });
  host.disposeFile(file);
  await Deno.writeTextFile(file, text, { mode: 0o600 });
  const program = new URL("../main.ts", import.meta.url).pathname;
  const command = [
    ...[Deno.execPath(), "run", "-A", "--no-check"],
    ...[v8Flags(), program],
    ...["up", `--tun=${device}`, file],
  ];
  // A /run of its own: it is killed, and would leave its state in the machine's.
  const process = host.spawn("wirestack", withRun(end.run, pinned(end, command)));
  await eventually(`${device} has its address`, async () => {
    const { stdout } = await host.run(["ip", "-oneline", "address", "show", "dev", device]);
    return stdout.includes(end.inner);
  }, { timeoutMs: 20_000 });
  return process;
}

function wireguardGo(name: string, program: string): Subject {
  const start: Subject["start"] = async (end, other, device) => {
    const { host } = end;
    const socket = `/var/run/wireguard/${device}.sock`;
    host.disposeFile(socket);
    const process = host.spawn(name, pinned(end, [program, "-f", device]), {
      env: { PATH: Deno.env.get("PATH")!, WG_PROCESS_FOREGROUND: "1", LOG_LEVEL: "error" },
    });
    await eventually(socket, async () => (await host.run(["wg", "show", device])).code === 0, {
      intervalMs: 20,
    });
    const peer = {
      publicKey: other.keys.publicKey,
      allowedIps: [`${other.inner}/32`],
      endpoint: `${other.outer}:${PORT}`,
    };
    const text = `[Interface]\nPrivateKey = ${end.keys.privateKey}\nListenPort = ${PORT}\n` +
      peerSections([peer]);
    await host.output(["wg", "setconf", device, "/dev/stdin"], { input: text });
    return process;
  };
  return { name, start };
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ streams, direction, subject, samples }) => {
    const of = (figure: (sample: Sample) => number) => median(samples.map(figure));
    return [
      ...[`${streams}`, direction, subject, of(({ megabits }) => megabits).toFixed(0)],
      ...[of(({ sender }) => sender).toFixed(2), of(({ receiver }) => receiver).toFixed(2)],
      of(({ sender, receiver }) => sender + receiver).toFixed(2),
    ];
  });
  const head = ["streams", "direction", "subject", "Mbit/s", "sender s/GB", "receiver", "both"];
  return [head, ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
