/**
 * A flood of handshakes against a gateway that carries 100 Mbit/s, with real sockets on loopback, a
 * process for each: the gateway, the flood, and this one, which talks and brings a new client.
 *
 *     deno task bench:flood [--kind mixed] [--rate 50000] [--mbit 100] [--seconds 10] [--ffi]
 *
 * Kinds: `none`, `bad` (wrong mac1), `replay` (genuine initiations again), `nonsense` (a right mac1
 * and nothing behind it, one source), `many` (the same from 250 sources), `mixed` (bad, replay and
 * nonsense); `all` is each of them in turn. `--ffi` is the gateway's; the flood uses FFI where it
 * can. `--profile FILE` writes a CPU profile of the gateway.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { formatConfigFile } from "../proxy/config/format.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../proxy/base64.ts";
import { Client, MTU } from "./flood/client.ts";
import { GatewayProcess } from "./flood/gateway_process.ts";
import { sleep, spawn, until, write } from "./flood/process.ts";
import { type FloodResult, type FloodTask, KINDS } from "./flood/sender.ts";

const PATIENCE_MS = 20_000;

const { values } = parseArgs({
  options: {
    kind: { type: "string", default: "mixed" },
    rate: { type: "string", default: "50000" },
    mbit: { type: "string", default: "100" },
    seconds: { type: "string", default: "10" },
    ffi: { type: "boolean", default: false },
    profile: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const kinds = values.kind === "all" ? Object.keys(KINDS) : [values.kind];
for (const kind of kinds) {
  if (!(kind in KINDS)) {
    throw new RangeError(`--kind is one of ${Object.keys(KINDS).join(", ")}, all, got ${kind}`);
  }
}
for (const kind of kinds) console.log(JSON.stringify(await run(kind)));

async function run(kind: string): Promise<Record<string, unknown>> {
  const [server, talkerKey, newcomerKey] = [1, 2, 3].map(generatePrivateKey);
  const gateway = new GatewayProcess();
  await gateway.start({
    config: formatConfigFile({
      interface: { privateKey: encodeKey(server!), address: ["10.9.0.1/24"] },
      peers: [talkerKey!, newcomerKey!].map((key, i) => ({
        publicKey: encodeKey(publicKeyOf(key)),
        allowedIps: [`10.9.0.${2 + i}/32`],
      })),
    }),
    ffi: values.ffi,
    ...(values.profile !== undefined && { profile: values.profile }),
    profileMs: seconds * 1000,
  });
  const { port } = await gateway.report();
  const publicKey = publicKeyOf(server!);
  const talker = new Client(talkerKey!, publicKey, port);
  const newcomer = new Client(newcomerKey!, publicKey, port);
  talker.peer.initiate(performance.now());
  talker.work();
  await until(() => talker.peer.hasSession);

  const before = await gateway.report();
  const talking = talker.talk(Number(values.mbit), seconds);
  const flooding = flood({
    kind,
    port,
    publicKey: publicKey.toHex(),
    initiations: talker.initiations.map((bytes) => bytes.toHex()),
    perSecond: Number(values.rate),
    seconds,
  });
  await sleep(seconds * 1000 / 3);
  const newcomerMs = await bring(newcomer);
  const sent = await talking;
  const flooded = await flooding;
  const after = await gateway.report();
  await gateway.stop();
  talker.close();
  newcomer.close();

  const counters = new Map(
    Object.entries(after.counters).map(([name, count]) => [name, count - before.counters[name]!]),
  );
  const received = counters.get("packetsReceived")!;
  const handled = counters.get("datagramsReceived")! - received;
  const cpuSeconds = after.cpuSeconds - before.cpuSeconds;
  return {
    kind,
    ffi: values.ffi,
    sentMbit: round(sent * MTU * 8 / seconds / 1e6),
    receivedMbit: round(received * MTU * 8 / seconds / 1e6),
    receivedPercent: round(100 * received / sent),
    newcomerMs: newcomerMs === undefined ? "not in" : Math.round(newcomerMs),
    newcomerInitiations: newcomer.initiations.length,
    floodPerSecond: Math.round(flooded.sent / flooded.seconds),
    floodHandledPercent: flooded.sent > 0 ? round(100 * handled / flooded.sent) : undefined,
    socketDrops: after.socketDrops - before.socketDrops,
    gatewayCpuSeconds: round(cpuSeconds),
    gatewayCpuPercent: Math.round(100 * cpuSeconds / (after.seconds - before.seconds)),
    usPerDatagram: round(1e6 * cpuSeconds / (received + handled)),
    turns: after.turns - before.turns,
    memory:
      gateway.samples.map(({ rss, heapTotal, heapUsed, external }) =>
        [rss, heapTotal, heapUsed, external].map((bytes) => Math.round(bytes / 1e6)).join("/")
      ).join(" ") + " MB (rss/heapTotal/heapUsed/external)",
    dropped: Object.fromEntries(
      [...counters].filter(([name, count]) => /^dropped|cookieReplies/.test(name) && count > 0),
    ),
  };
}

/** @returns after how many ms it is in, or undefined. */
async function bring(client: Client): Promise<number | undefined> {
  const came = performance.now();
  client.peer.initiate(came);
  client.work();
  try {
    await until(() => client.peer.hasSession, came + PATIENCE_MS);
    return performance.now() - came;
  } catch {
    return undefined;
  }
}

async function flood(task: FloodTask): Promise<FloodResult> {
  if (KINDS[task.kind]!.length === 0) return { sent: 0, seconds: task.seconds };
  const child = spawn("./sender.ts", []);
  await write(child, JSON.stringify(task));
  return JSON.parse(new TextDecoder().decode((await child.output()).stdout));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
