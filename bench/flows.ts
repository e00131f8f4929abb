/**
 * What a hundred thousand live flows cost who else uses a gateway, and what its figures cost: round
 * trips through the tunnel beside `show flows`, scrapes and settings, and the gateway's CPU with a
 * scrape every five seconds and without. On loopback, as anybody.
 *
 *     deno task bench:flows [--flows 100000] [--peers 1000] [--seconds 10]
 *                           [--pairs 5] [--pair-seconds 30]
 *
 * The flows are UDP sessions' targets. A round trip is a datagram of the client in this process, echoed
 * behind the gateway, which is a process of its own; so is whatever asks it.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../proxy/base64.ts";
import { Process } from "../tests/e2e/process.ts";
import { startWirestack } from "../tests/proxy/start.ts";
import { between, read, residentBytes } from "./peers/cpu.ts";
import { median } from "./peers/report.ts";
import { v8Flags } from "./v8_flags.ts";

const SCRAPE_MS = 5_000;
/** Of a session, fewer than it may have. */
const TARGETS = 250;
/** Datagrams on their way to targets that are new. */
const AT_ONCE = 25;
/** From one round trip's beginning to the next's. */
const PACE_MS = 2;
/** One that takes as long is lost. */
const LOST_MS = 5_000;
const ECHO = "10.50.255.1";
const TOKEN = "a-token-of-the-bench";

const { values } = parseArgs({
  options: {
    "flows": { type: "string", default: "100000" },
    "peers": { type: "string", default: "1000" },
    "seconds": { type: "string", default: "10" },
    "pairs": { type: "string", default: "5" },
    "pair-seconds": { type: "string", default: "30" },
  },
});
const [flows, peers, seconds, pairs, pairSeconds] = (
  ["flows", "peers", "seconds", "pairs", "pair-seconds"] as const
).map((name) => Number(values[name])) as [number, number, number, number, number];
const main = fileURLToPath(new URL("../main.ts", import.meta.url));

await using resources = new AsyncDisposableStack();
const folder = await Deno.makeTempDir();
resources.defer(() => Deno.remove(folder, { recursive: true }));
const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
const statusPort = freePort();
await Deno.writeTextFile(`${folder}/token`, TOKEN, { mode: 0o600 });
await Deno.writeTextFile(`${folder}/crowd.conf`, configuration(), { mode: 0o600 });
const gateway = resources.use(
  new Process("gateway", deno("up", "--log-format", "json", `${folder}/crowd.conf`)),
);
const [, port] = await gateway.line(/listening.*?"port":(\d+)/, { timeoutMs: 60_000 });
const client = await startWirestack({
  interface: { privateKey: encodeKey(theirs), address: "10.9.0.2/24" },
  peers: [{
    publicKey: encodeKey(publicKeyOf(ours)),
    allowedIps: "0.0.0.0/0",
    endpoint: `127.0.0.1:${port}`,
  }],
});
resources.defer(async () => void await client.close({ graceMs: 0 }));
const listen = (hostname: string) => {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  resources.defer(() => socket.close());
  return { socket, port: (socket.addr as Deno.NetAddr).port };
};
const echo = listen("127.50.255.1");
const sink = listen("0.0.0.0");
let sunk = 0;
serve();

const opened = await open();
console.log(
  `${opened} flows, ${peers} peers: ${
    (residentBytes(gateway.worker) / 1e6).toFixed(0)
  } MB resident`,
);
const alone = await roundTrips(() => sleep(seconds * 1_000));
report("alone", alone);
// What it is to have a program started beside: the processors are few.
report("beside wirestack --version", await roundTrips(() => forSeconds(() => ask("--version"))));
report(
  "beside show flows --json",
  await roundTrips(() => forSeconds(() => ask("show", "flows", "crowd", "--json"))),
);
report(
  "beside the same, asked by a process that runs and throws it away",
  await roundTrips(discard),
);
report(
  "beside show flows",
  await roundTrips(() => forSeconds(() => ask("show", "flows", "crowd"))),
);
report("beside show", await roundTrips(() => forSeconds(() => ask("show", "crowd", "--json"))));
report("beside scrapes, 4 a second", await roundTrips(() => forSeconds(() => scrape(), 250)));
report(
  "beside a set a second",
  await roundTrips(() => {
    let n = 0;
    return forSeconds(() => ask("set", "crowd", `Proxy.TcpDialTimeout=${1 + n++ % 9}`), 1_000);
  }),
);

const costs: number[] = [];
for (let pair = 0; pair < pairs; pair++) {
  const without = await cpu(() => sleep(pairSeconds * 1_000));
  const with_ = await cpu(() => forSeconds(() => scrape(), SCRAPE_MS, pairSeconds));
  costs.push(with_ - without);
  console.log(
    `CPU of the gateway at rest ${percent(without)}, with a scrape every 5 s ${percent(with_)}`,
  );
}
if (costs.length > 0) {
  console.log(`scrapes, median of ${costs.length} pairs: ${percent(median(costs))} of a core`);
}

function configuration(): string {
  const others = Array.from({ length: peers - 1 }, (_, i) =>
    [
      "[Peer]",
      `PublicKey = ${encodeKey(publicKeyOf(generatePrivateKey()))}`,
      `AllowedIPs = 10.10.${i >> 8}.${i & 255}/32`,
    ].join("\n"));
  return [
    "[Interface]",
    `PrivateKey = ${encodeKey(ours)}`,
    "Address = 10.9.0.1/24",
    "[Peer]",
    "Name = client",
    `PublicKey = ${encodeKey(publicKeyOf(theirs))}`,
    "AllowedIPs = 10.9.0.2/32",
    ...others,
    "[Proxy]",
    "Subnets = 10.50.0.0/16",
    "Map = 10.50.0.0/16 -> 127.50.0.0/16",
    "UdpIdleTimeout = 3600",
    `MaxUdpSessions = ${flows}`,
    "[Status]",
    `Listen = 127.0.0.1:${statusPort}`,
    `TokenFile = ${folder}/token`,
  ].join("\n");
}

function deno(...args: string[]): string[] {
  const [command, ...rest] = args;
  return [
    ...[Deno.execPath(), "run", v8Flags(), "--no-prompt", "--allow-all", main, command!],
    ...command === "--version" ? [] : ["--control-dir", folder, ...rest],
  ];
}

/** Counts what comes to the one, sends back what comes to the other. */
function serve(): void {
  (async () => {
    for await (const _ of sink.socket) sunk++;
  })();
  (async () => {
    for await (const [bytes, from] of echo.socket) await echo.socket.send(bytes, from);
  })();
}

/** One datagram to each of so many targets. @returns how many flows live. */
async function open(): Promise<number> {
  const { port } = sink;
  let sent = 0;
  for (let left = flows, n = 0; left > 0; left -= TARGETS, n++) {
    const socket = client.listenDatagram();
    resources.defer(() => socket.close());
    for (let i = 0; i < Math.min(TARGETS, left); i++) {
      const hostname = `10.50.${n % 200}.${i + 1}`;
      await socket.send(new Uint8Array(1), { transport: "udp", hostname, port });
      sent++;
      if (i % AT_ONCE !== AT_ONCE - 1) continue;
      const end = performance.now() + 1_000;
      while (sunk < sent && performance.now() < end) await sleep(0);
      sent = sunk; // what was lost on the way stays so
    }
  }
  const [, live] = (await scrape()).match(/^wirestack_flows\{protocol="udp"\} (\d+)$/m) ?? [];
  return Number(live);
}

/** Round trips while `work` is done. @returns their times, ms, sorted. */
async function roundTrips(work: () => Promise<unknown>): Promise<number[]> {
  using socket = client.listenDatagram();
  const times: number[] = [];
  let isOver = false;
  const to = { transport: "udp", hostname: ECHO, port: echo.port } as const;
  const sentAt = new Map<number, number>();
  (async () => {
    for await (const [bytes] of socket) {
      const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      times.push(performance.now() - sentAt.get(number)!);
      sentAt.delete(number);
    }
  })().catch(() => {});
  const sending = (async () => {
    for (let number = 0; !isOver; number++) {
      const bytes = new Uint8Array(64);
      new DataView(bytes.buffer).setUint32(0, number);
      sentAt.set(number, performance.now());
      await socket.send(bytes, to);
      await sleep(PACE_MS);
    }
  })();
  await work();
  isOver = true;
  await sending;
  const end = performance.now() + LOST_MS;
  while (sentAt.size > 0 && performance.now() < end) await sleep(10);
  for (const _ of sentAt) times.push(LOST_MS);
  return times.sort((a, b) => a - b);
}

function report(what: string, times: readonly number[]): void {
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(part * times.length))]!;
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((part) => at(part).toFixed(2));
  console.log(
    `${what}: ${times.length} round trips, p50 ${p50}, p99 ${p99}, p99.9 ${p999}, ` +
      `longest ${times.at(-1)!.toFixed(1)} ms`,
  );
}

/** Again and again, each `everyMs`, or as soon as the last has been answered. */
async function forSeconds(work: () => Promise<unknown>, everyMs = 0, length = seconds) {
  const end = performance.now() + length * 1_000;
  for (let next = performance.now(); performance.now() < end;) {
    await work();
    next = Math.max(next + everyMs, performance.now());
    await sleep(Math.min(next, end) - performance.now());
  }
}

/** Has a `wirestack` ask; what it says is read by nobody. */
async function ask(...args: string[]): Promise<void> {
  const [command, ...rest] = deno(...args);
  const { success, stderr } = await new Deno.Command(command!, {
    args: rest,
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

/** Asks the control socket for the flows, again and again, from one process. */
async function discard(): Promise<void> {
  const script = `
    const end = performance.now() + ${seconds * 1_000};
    const buffer = new Uint8Array(1 << 16);
    while (performance.now() < end) {
      using conn = await Deno.connect({ transport: "unix", path: "${folder}/crowd.sock" });
      await conn.write(new TextEncoder().encode("wirestack_flows=1\\n\\n"));
      await conn.closeWrite();
      while (await conn.read(buffer) !== null);
    }`;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", script],
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

async function scrape(): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${statusPort}/metrics`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  return await response.text();
}

/** @returns the part of a core that the gateway takes while `work` is done. */
async function cpu(work: () => Promise<unknown>): Promise<number> {
  const before = read(gateway.worker);
  await work();
  return between(before, read(gateway.worker)).gateway;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

function percent(part: number): string {
  return `${(100 * part).toFixed(2)} %`;
}
