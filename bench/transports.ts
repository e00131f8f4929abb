/**
 * What a fallback costs: TUN to TUN between two of ours over the same cable without loss, by UDP and by
 * each fallback, in turns.
 *
 *     iperf3 ── TUN ── left  192.168.73.1 ── 192.168.73.2  right ── TUN ── iperf3
 *              10.9.1.1 ══════ UDP, TLS or gRPC ══════ 10.9.1.2
 *
 *     deno task bench:transports [--rounds N] [--seconds N] [--streams N] [--transports udp,tls,grpc] [--mbit N]
 *
 * As root, on two cores, with iperf3: each host has one of them, for its tunnel and its iperf3. A figure is
 * the median of the rounds; CPU is that of both tunnels' processes together, GB is 10^9 bytes of payload.
 * The last column is the share of UDP's throughput in the same direction. With `--mbit` the cable carries so
 * many Mbit/s each way, by `tc`, with a queue of 20 ms.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { Lab, missing } from "../tests/e2e/lab.ts";
import type { Process } from "../tests/e2e/process.ts";
import { MadeAuthority } from "../tests/proxy/bind/certificates/made.ts";
import { prioritise, unprioritise } from "./peers/priority.ts";
import { median } from "./peers/report.ts";
import { cabled, type End, pinned, run, type Sample, SETTLE_MS, startUp, WARM_UP } from "./tun.ts";

const PORTS = { udp: 51820, tls: 8443, grpc: 8444 } as const;
type Transport = keyof typeof PORTS;
const DIRECTIONS = ["out", "back"] as const;
const NOBODY = 65534;

if (import.meta.main) {
  const reason = missing(["ip", "iperf3", "taskset"]);
  if (reason !== undefined) throw new Error(`this makes network namespaces: ${reason}`);
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
      streams: { type: "string", default: "1" },
      transports: { type: "string", default: "udp,tls,grpc" },
      mbit: { type: "string" },
    },
  });
  const transports = values.transports.split(",").map((name) => {
    if (!(name in PORTS)) throw new RangeError(`a transport is udp, tls or grpc, not "${name}"`);
    return name as Transport;
  });
  const [rounds, seconds, streams] = [values.rounds, values.seconds, values.streams].map(Number);
  await main(transports, rounds!, seconds!, streams!, values.mbit).finally(unprioritise);
}

async function main(
  transports: readonly Transport[],
  rounds: number,
  seconds: number,
  streams: number,
  mbit: string | undefined,
): Promise<void> {
  await prioritise(1);
  await using lab = await Lab.create();
  const [left, right] = await cabled(lab);
  for (const { host } of mbit === undefined ? [] : [left, right]) {
    const limit = ["tbf", "rate", `${mbit}mbit`, "burst", "128k", "latency", "20ms"];
    await host.output(["tc", "qdisc", "add", "dev", "cable", "root", ...limit]);
  }
  const folder = await certificates(lab.directory, right.outer);
  const samples = new Map<string, Sample[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const transport of round % 2 === 1 ? transports : transports.toReversed()) {
      await using right_ = await start(right, hubConfig(right, left, folder, transport));
      await using left_ = await start(left, peerConfig(left, right, folder, transport));
      const tunnels = [left_, right_];
      await using _iperf = right.host.spawn("iperf3", pinned(right, ["iperf3", "-s"]));
      await left.host.output(["ping", "-c", "1", "-w", "10", right.inner]).catch((error) => {
        throw new Error(`${error.message}\n${tunnels.join("\n")}`);
      });
      for (const isBack of [false, true]) await run(left, right, tunnels, 1, isBack, WARM_UP);
      for (const direction of DIRECTIONS) {
        const sample = await run(
          ...[left, right, tunnels, streams, direction === "back", seconds] as const,
        );
        const key = `${transport} ${direction}`;
        samples.set(key, [...samples.get(key) ?? [], sample]);
        console.error(`${round}/${rounds} ${key}: ${sample.megabits.toFixed(0)} Mbit/s`);
        await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      }
    }
  }
  const rate = (transport: Transport, direction: string) =>
    median((samples.get(`${transport} ${direction}`) ?? []).map(({ megabits }) => megabits));
  console.log("| transport | direction | Mbit/s | s/GB | of UDP |\n| - | - | - | - | - |");
  for (const transport of transports) {
    for (const direction of DIRECTIONS) {
      const cpu = median(
        samples.get(`${transport} ${direction}`)!.map(({ sender, receiver }) => sender + receiver),
      );
      const megabits = rate(transport, direction);
      const share = megabits / rate("udp", direction);
      console.log(
        `| ${transport} | ${direction} | ${megabits.toFixed(0)} | ${cpu.toFixed(2)} | ` +
          `${Number.isNaN(share) ? "-" : share.toFixed(2)} |`,
      );
    }
  }
}

function interfaceLines({ keys, inner }: End): string[] {
  return ["[Interface]", `PrivateKey = ${keys.privateKey}`, `Address = ${inner}/24`, "MTU = 1420"];
}

function peerLines(other: End): string[] {
  return [
    "[Peer]",
    `PublicKey = ${other.keys.publicKey}`,
    `AllowedIPs = ${other.inner}/32`,
  ];
}

function hubConfig(end: End, other: End, folder: string, transport: Transport): string[] {
  const hub = [...interfaceLines(end), `ListenPort = ${PORTS.udp}`, ...peerLines(other)];
  if (transport === "udp") return hub;
  return [
    ...hub,
    "[Relay]",
    `Listen = ${transport}:0.0.0.0:${PORTS[transport]}`,
    `Cert = ${folder}/hub.pem`,
    `Key = ${folder}/hub.key`,
    `ClientCa = ${folder}/ca.pem`,
  ];
}

function peerConfig(end: End, other: End, folder: string, transport: Transport): string[] {
  const peer = [...interfaceLines(end), ...peerLines(other)];
  if (transport === "udp") return [...peer, `Endpoint = ${other.outer}:${PORTS.udp}`];
  return [
    ...peer,
    `Fallback = ${transport}://${other.outer}:${PORTS[transport]}`,
    `Cert = ${folder}/peer.pem`,
    `Key = ${folder}/peer.key`,
    `Ca = ${folder}/ca.pem`,
  ];
}

async function certificates(folder: string, host: string): Promise<string> {
  const authority = await MadeAuthority.make();
  await Deno.writeTextFile(`${folder}/ca.pem`, authority.cert);
  for (
    const [name, options] of [
      ["hub", { name: "hub", usage: "serverAuth", hosts: [host] }],
      ["peer", { name: "peer" }],
    ] as const
  ) {
    const { cert, key } = await authority.leaf(options);
    await Deno.writeTextFile(`${folder}/${name}.pem`, cert);
    await Deno.writeTextFile(`${folder}/${name}.key`, key, { mode: 0o600 });
    await Deno.chown(`${folder}/${name}.key`, NOBODY, NOBODY); // who reads it when it dials
  }
  return folder;
}

function start(end: End, lines: readonly string[]): Promise<Process> {
  return startUp(end, `wst${Deno.pid}n${end.core}`, `${lines.join("\n")}\n`);
}
