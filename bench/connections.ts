/**
 * What a peer's stream has left beside another peer that opens connections as fast as it can: a real
 * gateway alone on its core, everything else on the other one. In network namespaces, as root.
 *
 *     deno task bench:connections [--runs N] [--seconds N] [--at-once N] [--yields]
 *                                 [--versus DIRECTORY]
 *
 * Each run has a gateway of its own and measures a stream at 50 Mbit/s and one that takes all it gets
 * (iperf3, down), alone (10 s at most) and beside. `--runs 1 --seconds 100` is beside some 100,000
 * connections each. Two cores are too few for the load: where its own is full, what a
 * stream loses may be lost there. So a row tells how busy either was, and with `--yields` the programs
 * of the peer that opens connections have only what the stream's leave of theirs: then the rest is
 * the gateway's doing. `--versus` has another checkout run in turns with this one.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Host, missing } from "../tests/e2e/lab.ts";
import { output, type Process } from "../tests/e2e/process.ts";
import { keyPair, WireguardGo } from "../tests/e2e/wireguard_go.ts";
import { buildOurs } from "./peers/build.ts";
import { between, read, residentBytes, tree, type Usage } from "./peers/cpu.ts";
import { prioritise, unprioritise } from "./peers/priority.ts";
import { type Built, type Subject, SUBJECTS } from "./peers/subjects.ts";
import {
  GATEWAY_CORE,
  GATEWAY_IN_TUNNEL,
  listening,
  LOAD_CORE,
  onGatewayCore,
  SERVICE_PORT,
  SITE,
  SITE_NETWORK,
  Topology,
  TUNNEL_PORT,
} from "./peers/topology.ts";

const PACED = 50e6;
const OPENER = "192.168.73.1";
const GATEWAY_AT_OPENER = "192.168.73.2";
const OPENER_IN_TUNNEL = "10.9.0.3";
const STREAM_PORT = 5201;
/** Of the flood before what is measured, ms. */
const WARM_UP_MS = 2_000;
/** Of what is measured alone, at most: that needs no thousands of connections. */
const ALONE_S = 10;
/** The lowest priority there is. */
const LAST = 19;

interface Row {
  readonly subject: string;
  /** Bits of payload a second. */
  readonly paced: Measured;
  readonly pacedBeside: Measured;
  readonly all: Measured;
  readonly allBeside: Measured;
}

interface Measured {
  readonly bitrate: number;
  /** Connections that targets took. */
  readonly connections: number;
  readonly usage: Usage;
  /** Of the gateway at the end, resident. */
  readonly bytes: number;
}

const { values } = parseArgs({
  options: {
    "runs": { type: "string", default: "3" },
    "seconds": { type: "string", default: "6" },
    "at-once": { type: "string", default: "300" },
    "yields": { type: "boolean", default: false },
    "versus": { type: "string" },
  },
});
const [runs, seconds, atOnce] = [values.runs, values.seconds, values["at-once"]].map(Number) as [
  number,
  number,
  number,
];

const reason = missing(["ip", "iperf3", "taskset", "wg", "wireguard-go", "renice"]);
if (reason !== undefined) {
  console.error(`network namespaces are needed: ${reason}`);
  Deno.exit(1);
}
const load = `${await buildOurs()}/load`;
const ours = SUBJECTS.find(({ name }) => name === "wirestack")!;
const subjects = [ours, ...values.versus === undefined ? [] : [ours.from!(values.versus)]];
const built: Built[] = [];
for (const subject of subjects) built.push(await subject.build());
await prioritise(LOAD_CORE);
const rows: Row[] = [];
try {
  await using topology = await Topology.create(load);
  const opener = await topology.further("opener", `${OPENER}/24`, `${GATEWAY_AT_OPENER}/24`);
  for (let run = 0; run < runs; run++) {
    for (const [i, subject] of subjects.entries()) {
      const row = await measure(topology, opener, subject, built[i]!);
      rows.push(row);
      console.log(toText(row));
    }
  }
} finally {
  unprioritise();
}
for (const { name } of subjects) {
  const own = rows.filter(({ subject }) => subject === name);
  const paced = own.map(({ pacedBeside }) => pacedBeside.bitrate / PACED);
  const all = own.map(({ all, allBeside }) => allBeside.bitrate / all.bitrate);
  console.log(
    `${name}, median of ${own.length}: of 50 Mbit/s ${percent(median(paced))}, ` +
      `of all that it can get ${percent(median(all))}`,
  );
}

async function measure(
  topology: Topology,
  opener: Host,
  subject: Subject,
  { prepare }: Built,
): Promise<Row> {
  await using resources = new AsyncDisposableStack();
  const start = await prepare(topology);
  const keys = await keyPair();
  await Deno.writeTextFile(
    start.command.at(-1)!,
    `\n[Peer]\nPublicKey = ${keys.publicKey}\nAllowedIPs = ${OPENER_IN_TUNNEL}/32\n`,
    { append: true },
  );
  const tunnel = await topology.tunnel(true);
  resources.defer(() => tunnel.stop());
  const others = new Set(tree(Deno.pid));
  const further = await WireguardGo.start(opener, {
    privateKey: keys.privateKey,
    addresses: [`${OPENER_IN_TUNNEL}/24`],
    routes: [SITE_NETWORK],
    peers: [{
      publicKey: topology.gatewayKeys.publicKey,
      allowedIps: [`${GATEWAY_IN_TUNNEL}/32`, SITE_NETWORK],
      endpoint: `${GATEWAY_AT_OPENER}:${TUNNEL_PORT}`,
    }],
  });
  resources.defer(() => further.stop());
  if (values.yields) {
    const threads = tree(Deno.pid).filter((pid) => !others.has(pid)).flatMap((pid) =>
      [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => name)
    );
    await output(["renice", "--priority", `${LAST}`, "--pid", ...threads]);
  }
  const gateway = resources.use(
    topology.gateway.spawn(
      subject.name,
      // Another gateway of this machine may have the usual name.
      onGatewayCore([...start.command, "--control-dir", topology.directory]),
    ),
  );
  await listening(gateway, subject.listens);
  const server = resources.use(
    topology.site.spawn("iperf3", ["iperf3", "--server", "--forceflush", "--port", "5201"]),
  );
  await server.line(/listening/);
  const stream = (length: number, ...options: string[]) =>
    streamOf(topology, gateway, server, length, options);
  const alone = Math.min(ALONE_S, seconds);
  const pacing = ["--bitrate", `${PACED}`];
  const paced = await stream(alone, ...pacing);
  const all = await stream(alone);
  const first = values.yields ? ["nice", "--adjustment", "39"] : [];
  const flood = resources.use(opener.spawn("load", [
    ...[...first, load, "connect", "--target", `${SITE}:${SERVICE_PORT}`],
    ...["--connections", `${atOnce}`, "--warmup", "1s", "--length", "1h"],
  ]));
  await flood.line(/"begin"/);
  await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
  const pacedBeside = await stream(seconds, ...pacing);
  const allBeside = await stream(seconds);
  // Should it have failed, nothing was measured.
  const failed = flood.lines.find((line) => line.startsWith("load: "));
  if (failed !== undefined) throw new Error(failed);
  return { subject: subject.name, paced, pacedBeside, all, allBeside };
}

/** One of iperf3's, with the connections that the site's service took meanwhile. */
async function streamOf(
  { client, site }: Topology,
  gateway: Process,
  server: Process,
  length: number,
  options: string[],
): Promise<Measured> {
  const before = read(gateway.pid);
  const opened = passiveOpens(server.pid);
  const { stdout } = await client.run([
    ...["iperf3", "--client", SITE, "--port", `${STREAM_PORT}`, "--reverse", "--json"],
    ...["--time", `${length}`, ...options],
  ], { timeoutMs: (length + 30) * 1_000 });
  const usage = between(before, read(gateway.pid));
  const { end, error } = JSON.parse(stdout);
  if (error !== undefined) throw new Error(`${site.label}: iperf3: ${error}`);
  const connections = passiveOpens(server.pid) - opened;
  const bytes = residentBytes(gateway.pid);
  return { bitrate: end.sum_received.bits_per_second, connections, usage, bytes };
}

/** Connections that the TCP of a process's host has taken. */
function passiveOpens(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/net/snmp`);
  const [names, counts] = [...text.matchAll(/^Tcp: (.*)$/gm)].map(([, line]) => line!.split(" "));
  return Number(counts![names!.indexOf("PassiveOpens")]);
}

function toText({ subject, paced, pacedBeside, all, allBeside }: Row): string {
  const text = ({ bitrate, connections, usage, bytes }: Measured) =>
    `${(bitrate / 1e6).toFixed(1)} Mbit/s, ${connections} connections, ` +
    `${(connections / usage.seconds).toFixed(0)} a second ` +
    `(${(bytes / 1e6).toFixed(0)} MB resident; CPU: gateway ${
      percent(usage.gateway)
    } of a core that is busy ` +
    `${percent(usage.busy[GATEWAY_CORE]!)}, load's ${percent(usage.busy[LOAD_CORE]!)})`;
  return [
    `${subject}: 50 Mbit/s alone: ${text(paced)}`,
    `  beside: ${text(pacedBeside)}: ${percent(pacedBeside.bitrate / PACED)}`,
    `  all it gets, alone: ${text(all)}`,
    `  beside: ${text(allBeside)}: ${percent(allBeside.bitrate / all.bitrate)}`,
  ].join("\n");
}

function percent(part: number): string {
  return `${(100 * part).toFixed(0)} %`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
