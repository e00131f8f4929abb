/**
 * Our TCP with the Linux kernel as its peer, measured against two kernels, over the same link:
 *
 *     deno task bench:kernel [--runs N] [--seconds N] [--loss PERCENT,…] [--json] …
 *
 * Kernel: iperf3 ── kernel ── TUN ⇄ lossy link ⇄ TUN ── kernel ── iperf3.
 * Ours: iperf3 ── kernel ── TUN ⇄ lossy link ⇄ Stack ── TCP forwarder ── loopback ── iperf3.
 *
 * "up" is what the client sends: then ours receives. In "down" ours sends. Kernels run CUBIC. Every
 * run of a cell is done with both, one right after the other, with the same seed.
 *
 * On a machine that does other things, `chrt --rr 1` before the command keeps those from being
 * measured.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { TcpSettings } from "../netstack/mod.ts";
import { type Host, Lab, missing } from "../tests/e2e/lab.ts";
import type { LossyLinkOptions } from "../tests/e2e/lossy_link.ts";
import { Process } from "../tests/e2e/process.ts";
import { Cable, KernelPort, StackPort } from "../tests/e2e/tun_lab.ts";

type Direction = "up" | "down";

interface Options {
  readonly runs: number;
  readonly seconds: number;
  /** Probabilities. */
  readonly losses: number[];
  readonly link: Omit<LossyLinkOptions, "loss" | "seed">;
  readonly seed: number;
  /** Of our stack; undefined = its default. */
  readonly congestion: TcpSettings["congestion"] | undefined;
  readonly json: boolean;
}

/** What both did in one place of the table, bits per second. */
interface Cell {
  readonly loss: number;
  readonly direction: Direction;
  readonly kernel: number[];
  readonly ours: number[];
}

const CLIENT = "10.77.0.1";
const SERVER = "10.77.0.2";
/** How long iperf3 may take beside the measurement. */
const PATIENCE_MS = 30_000;

const options = parseOptions();
const reason = missing(["ip", "iperf3", "sysctl"]);
if (reason !== undefined) {
  console.error(`the kernel referee makes network namespaces and TUN devices: ${reason}`);
  Deno.exit(1);
}
const stopped = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.addSignalListener(signal, () => stopped.abort());
}
const cells = await measureAll(options);
if (options.json) console.log(JSON.stringify(report(options, cells)));
else console.log(table(cells));
Deno.exit(0);

async function measureAll(options: Options): Promise<Cell[]> {
  const cells = options.losses.flatMap((loss) =>
    (["up", "down"] as const).map((direction): Cell => ({ loss, direction, kernel: [], ours: [] }))
  );
  for (let run = 0; run < options.runs; run++) {
    for (const cell of cells) {
      const link = { ...options.link, loss: cell.loss, seed: options.seed + 2 * run };
      cell.kernel.push(await inLab((lab) => kernelToKernel(lab, link, cell.direction, options)));
      cell.ours.push(await inLab((lab) => kernelToOurs(lab, link, cell.direction, options)));
      console.error(
        `run ${run + 1}, ${percent(cell.loss)} loss, ${cell.direction}: ` +
          `kernel ${megabits(cell.kernel[run]!)}, ours ${megabits(cell.ours[run]!)} Mbit/s` +
          `, load ${Deno.loadavg()[0]!.toFixed(1)}`,
      );
    }
  }
  return cells;
}

/** Whatever happens, the lab is gone afterwards; when it is a signal, so is the program. */
async function inLab(measure: (lab: Lab) => Promise<number>): Promise<number> {
  const signalled = Promise.withResolvers<never>();
  const onAbort = () => signalled.reject(new Error("stopped by a signal"));
  stopped.signal.addEventListener("abort", onAbort);
  try {
    await using lab = await Lab.create();
    return await Promise.race([measure(lab), signalled.promise]);
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
    Deno.exit(130);
  } finally {
    stopped.signal.removeEventListener("abort", onAbort);
  }
}

async function kernelToKernel(
  lab: Lab,
  link: LossyLinkOptions,
  direction: Direction,
  options: Options,
): Promise<number> {
  const [client, server] = [await kernelHost(lab, "client"), await kernelHost(lab, "server")];
  await using a = await KernelPort.open(client, [`${CLIENT}/24`]);
  await using b = await KernelPort.open(server, [`${SERVER}/24`]);
  using _cable = new Cable(a, b, link);
  const iperf3 = server.spawn("iperf3", ["iperf3", "--server", "--one-off", "--forceflush"]);
  await iperf3.line(/Server listening/);
  return await measure(client, 5201, direction, options);
}

async function kernelToOurs(
  lab: Lab,
  link: LossyLinkOptions,
  direction: Direction,
  options: Options,
): Promise<number> {
  const client = await kernelHost(lab, "client");
  await using a = await KernelPort.open(client, [`${CLIENT}/24`]);
  using b = new StackPort({
    addresses: ["10.77.0.254/24"],
    isGateway: true,
    ...(options.congestion && { tcp: { congestion: options.congestion } }),
  });
  const forwarder = b.forwardTcp(SERVER, "127.0.0.1");
  using _cable = new Cable(a, b, link);
  const port = freePort();
  await using iperf3 = new Process("iperf3", [
    ...["iperf3", "--server", "--one-off", "--forceflush"],
    ...["--bind", "127.0.0.1", "--port", String(port)],
  ]);
  await iperf3.line(/Server listening/);
  try {
    return await measure(client, port, direction, options);
  } finally {
    forwarder.abort();
  }
}

async function kernelHost(lab: Lab, label: string): Promise<Host> {
  const host = await lab.host(label);
  // Every run begins knowing nothing of the path.
  await host.sysctl("net.ipv4.tcp_no_metrics_save=1");
  return host;
}

/** @returns Bits per second that arrived. */
async function measure(
  client: Host,
  port: number,
  direction: Direction,
  { seconds }: Options,
): Promise<number> {
  const iperf3 = client.spawn("iperf3", [
    ...["iperf3", "--client", SERVER, "--port", String(port), "--congestion", "cubic"],
    ...["--time", String(seconds), "--json", ...direction === "down" ? ["--reverse"] : []],
  ]);
  await iperf3.exit(seconds * 1000 + PATIENCE_MS);
  const result = JSON.parse(iperf3.lines.join("\n"));
  if (result.error !== undefined) throw new Error(`iperf3: ${result.error}`);
  const { sender_tcp_congestion: congestion } = result.end;
  if (congestion !== "cubic") throw new Error(`the kernel used ${congestion}, not CUBIC`);
  return result.end.sum_received.bits_per_second;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function parseOptions(): Options {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      runs: { type: "string", default: "5" },
      seconds: { type: "string", default: "10" },
      loss: { type: "string", default: "0,1,5" },
      rate: { type: "string", default: "100" },
      rtt: { type: "string", default: "20" },
      queue: { type: "string", default: "250" },
      seed: { type: "string", default: "1" },
      congestion: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  return {
    runs: Number(values.runs),
    seconds: Number(values.seconds),
    losses: values.loss.split(",").map((text) => Number(text) / 100),
    link: {
      rate: Number(values.rate) * 1e6,
      delay: Number(values.rtt) / 2,
      queue: Number(values.queue) * 1000,
    },
    seed: Number(values.seed),
    congestion: values.congestion as Options["congestion"],
    json: values.json,
  };
}

function report({ runs, seconds, link, seed, congestion }: Options, cells: Cell[]) {
  return {
    ...{ runs, seconds, rate: link.rate, rttMs: 2 * link.delay, queueBytes: link.queue, seed },
    ...{ congestion: congestion ?? "default", load: Deno.loadavg() },
    cells: cells.map((cell) => ({
      ...cell,
      kernelMedian: median(cell.kernel),
      oursMedian: median(cell.ours),
      ratio: median(cell.ours) / median(cell.kernel),
    })),
  };
}

function table(cells: Cell[]): string {
  const spread = (values: number[]) =>
    `${megabits(median(values))} (${megabits(Math.min(...values))}–${
      megabits(Math.max(...values))
    })`;
  return [
    "| loss | direction | kernel, Mbit/s | ours, Mbit/s | ratio |",
    "| ---- | --------- | -------------- | ------------ | ----- |",
    ...cells.map(({ loss, direction, kernel, ours }) =>
      `| ${percent(loss)} | ${direction} | ${spread(kernel)} | ${spread(ours)} | ` +
      `${(median(ours) / median(kernel)).toFixed(2)} |`
    ),
  ].join("\n");
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function megabits(bitsPerSecond: number): string {
  return (bitsPerSecond / 1e6).toFixed(2);
}

function percent(probability: number): string {
  return `${+(100 * probability).toFixed(3)} %`;
}
