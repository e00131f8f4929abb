/**
 * A path through two gateways: what a client sends to a target behind an agent goes through a hub.
 *
 *     client  192.168.71.1 ── .2  hub  192.168.72.1 ── .2  agent  192.168.73.1 ── .2  target
 *        └─ 100.64.0.2 ═══════ 100.64.0.1 ═══════ 100.64.0.3 ──┘
 *
 *     deno task bench:peers network [--paths A,B] [--scenarios A,B] [--rounds N] [--seconds N]
 *
 * Hub and agent share core 0, all else has core 1: throughput is what one core does for both. The
 * client is wireguard-go on every path, and the load is that of the other scenarios. CPU is that of the
 * processes; what the kernel does for a packet that wireguard-go hands it, forwarding included, it
 * does in wireguard-go's time. Medians of the rounds.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Host, Lab, missing } from "../../tests/e2e/lab.ts";
import type { Process } from "../../tests/e2e/process.ts";
import {
  type KeyPair,
  keyPair,
  peerSections,
  type PeerSettings,
  WireguardGo,
} from "../../tests/e2e/wireguard_go.ts";
import { buildOurs, buildWireguardGo } from "./build.ts";
import { read, type Reading, residentBytes } from "./cpu.ts";
import { prioritise, unprioritise } from "./priority.ts";
import { median } from "./report.ts";
import { hex, programOf } from "./subjects.ts";
import { LOAD_CORE, onGatewayCore, SERVICE_PORT, TUNNEL_PORT } from "./topology.ts";

const HUB = "192.168.71.2";
const HUB_FOR_AGENTS = "192.168.72.1";
const TARGET = "192.168.73.2";
const TARGETS = "192.168.73.0/24";
const INNER = { client: "100.64.0.2", hub: "100.64.0.1", agent: "100.64.0.3" };
const WARM_UP_S = 1.5;
const PATIENCE_MS = 60_000;

const SCENARIOS: Readonly<Record<string, readonly string[]>> = {
  "down-1": ["bulk", "--direction", "down", "--connections", "1"],
  "up-1": ["bulk", "--direction", "up", "--connections", "1"],
  "down-32": ["bulk", "--direction", "down", "--connections", "32"],
  "up-32": ["bulk", "--direction", "up", "--connections", "32"],
  rtt: ["rtt"],
};

/** Starts a gateway. @returns its process. */
type Starter = (network: Network) => Promise<Process>;

const HUBS: Readonly<Record<string, Starter>> = { wirestack: ourHub, "wireguard-go": kernelHub };
const AGENTS: Readonly<Record<string, Starter>> = { wirestack: ourAgent, newt: newtAgent };
const PATHS = "wirestack+wirestack,wireguard-go+newt,wirestack+newt,wireguard-go+wirestack";

interface Sample {
  readonly mbps?: number;
  readonly p50?: number;
  /** CPU seconds per GB. */
  readonly hub?: number;
  readonly agent?: number;
  /** CPU of each, 1 = all of a core, and of core 0 whoever's. */
  readonly shares: readonly [hub: number, agent: number, core: number];
  readonly hubBytes: number;
  readonly agentBytes: number;
}

interface Network {
  readonly lab: Lab;
  readonly hosts: { readonly client: Host; readonly hub: Host; readonly agent: Host };
  readonly keys: { readonly client: KeyPair; readonly hub: KeyPair; readonly agent: KeyPair };
  readonly program: readonly string[];
  /** Of our Go programs. */
  readonly directory: string;
}

/** Runs the program. @returns its exit status. */
export async function network(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      paths: { type: "string", default: PATHS },
      scenarios: { type: "string", default: Object.keys(SCENARIOS).join() },
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
    },
  });
  const reason = missing(["ip", "setpriv", "sysctl", "taskset", "wg"]);
  if (reason !== undefined) {
    console.error(`the referee makes network namespaces: ${reason}`);
    return 1;
  }
  const paths = values.paths.split(",").map((name) => {
    const [hub, agent] = name.split("+");
    const path = { name, hub: HUBS[hub!], agent: AGENTS[agent!] };
    if (path.hub === undefined || path.agent === undefined) {
      throw new RangeError(`--paths: no "${name}", but some of ${PATHS}`);
    }
    return path as { name: string; hub: Starter; agent: Starter };
  });
  const scenarios = values.scenarios.split(",");
  const rows = new Map<string, Sample[]>();
  const directory = await buildOurs();
  Deno.env.set("PATH", `${await buildWireguardGo()}:${Deno.env.get("PATH")}`);
  const program = await programOf({ ffi: true });
  await prioritise(LOAD_CORE);
  try {
    await using lab = await Lab.create();
    const made = await make(lab, directory, program);
    for (let round = 1; round <= Number(values.rounds); round++) {
      for (const { name, hub, agent } of round % 2 === 1 ? paths : paths.toReversed()) {
        for (const scenario of scenarios) {
          const key = `${scenario}|${name}`;
          const sample = await run(made, hub, agent, scenario, Number(values.seconds));
          rows.set(key, [...rows.get(key) ?? [], sample]);
          console.error(`${round}/${values.rounds} ${scenario} ${name}: ${JSON.stringify(sample)}`);
        }
      }
    }
  } finally {
    unprioritise();
  }
  console.log(table(scenarios.flatMap((scenario) =>
    paths.map(({ name }) => ({
      scenario,
      name,
      samples: rows.get(`${scenario}|${name}`)!,
    }))
  )));
  return 0;
}

/** Hosts and cables, and the service at the target. */
async function make(lab: Lab, directory: string, program: readonly string[]): Promise<Network> {
  const hosts = {
    client: await lab.host("client"),
    hub: await lab.host("hub"),
    agent: await lab.host("agent"),
    target: await lab.host("target"),
  };
  const order = [hosts.client, hosts.hub, hosts.agent, hosts.target];
  for (const [i, host] of order.entries()) {
    const next = order[i + 1];
    if (next === undefined) continue;
    await lab.connect(
      { host, device: "next", addresses: [`192.168.${71 + i}.1/24`] },
      { host: next, device: "previous", addresses: [`192.168.${71 + i}.2/24`] },
    );
  }
  await hosts.hub.sysctl("net.ipv4.ip_forward=1");
  const service = hosts.target.spawn("service", [
    ...[`${directory}/load`, "serve", "--port", `${SERVICE_PORT}`],
    ...["--counter", `${lab.directory}/counter`],
  ]);
  await service.line(/serving/);
  const keys = { client: await keyPair(), hub: await keyPair(), agent: await keyPair() };
  return { lab, hosts, keys, program, directory };
}

/** One path from nothing, one scenario. */
async function run(
  made: Network,
  startHub: Starter,
  startAgent: Starter,
  scenario: string,
  seconds: number,
): Promise<Sample> {
  const { lab, hosts, keys, directory } = made;
  await using hub = await startHub(made);
  await using agent = await startAgent(made);
  const client = await WireguardGo.start(hosts.client, {
    privateKey: keys.client.privateKey,
    addresses: [`${INNER.client}/24`],
    routes: [TARGETS],
    peers: [{
      publicKey: keys.hub.publicKey,
      allowedIps: ["100.64.0.0/24", TARGETS],
      endpoint: `${HUB}:${TUNNEL_PORT}`,
    }],
  });
  try {
    await reached(made);
    await using load = hosts.client.spawn("load", [
      ...[`${directory}/load`, SCENARIOS[scenario]![0]!, "--target", `${TARGET}:${SERVICE_PORT}`],
      ...["--counter", `${lab.directory}/counter`, ...SCENARIOS[scenario]!.slice(1)],
      ...["--warmup", `${WARM_UP_S}s`, "--length", `${seconds}s`],
    ]);
    await load.line(/^\{"mark":"begin"/, { timeoutMs: PATIENCE_MS });
    const before = [hub, agent].map(({ pid }) => read(pid));
    const [line] = await load.line(/^\{"mark":"end".*$/, { timeoutMs: PATIENCE_MS });
    const after = [hub, agent].map(({ pid }) => read(pid));
    return sampleOf(JSON.parse(line), before, after, [hub.pid, agent.pid]);
  } finally {
    await client.stop();
  }
}

interface Result {
  readonly seconds: number;
  readonly bytes?: number;
  readonly p50_us?: number;
}

function sampleOf(
  { seconds, bytes, p50_us }: Result,
  before: readonly Reading[],
  after: readonly Reading[],
  pids: readonly number[],
): Sample {
  const [hub, agent] = after.map(({ gateway }, i) => gateway - before[i]!.gateway) as [
    number,
    number,
  ];
  const core = after[0]!.busy[0]! - before[0]!.busy[0]!;
  const gigabytes = bytes === undefined ? undefined : bytes / 1e9;
  return {
    mbps: gigabytes && gigabytes * 8e3 / seconds,
    p50: p50_us,
    hub: gigabytes && hub / gigabytes,
    agent: gigabytes && agent / gigabytes,
    shares: [hub / seconds, agent / seconds, core / seconds],
    hubBytes: residentBytes(pids[0]!),
    agentBytes: residentBytes(pids[1]!),
  };
}

/** The agent has to have called before anything gets through. */
async function reached({ hosts, lab, directory }: Network): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const { code, stderr } = await hosts.client.run([
      ...[`${directory}/load`, "bulk", "--target", `${TARGET}:${SERVICE_PORT}`],
      ...["--counter", `${lab.directory}/counter`, "--direction", "down", "--connections", "1"],
      ...["--warmup", "100ms", "--length", "100ms"],
    ], { timeoutMs: PATIENCE_MS });
    if (code === 0) return;
    if (performance.now() > until) throw new Error(`the target cannot be reached: ${stderr}`);
  }
}

function peersOfHub({ keys }: Network): PeerSettings[] {
  return [
    { publicKey: keys.client.publicKey, allowedIps: [`${INNER.client}/32`] },
    { publicKey: keys.agent.publicKey, allowedIps: [`${INNER.agent}/32`, TARGETS] },
  ];
}

async function ours(
  { lab, program }: Network,
  host: Host,
  command: "hub" | "agent",
  lines: readonly string[],
): Promise<Process> {
  const file = `${lab.directory}/${command}.conf`;
  await Deno.writeTextFile(file, lines.join("\n"), { mode: 0o600 });
  const state = `STATE_DIRECTORY=${lab.directory}`;
  const process = host.spawn(
    command,
    onGatewayCore(["env", state, ...program, command, "--control-dir", lab.directory, file]),
  );
  await process.line(/listening on UDP/, { timeoutMs: PATIENCE_MS });
  return process;
}

function ourHub(network: Network): Promise<Process> {
  return ours(network, network.hosts.hub, "hub", [
    ...["[Interface]", `PrivateKey = ${network.keys.hub.privateKey}`],
    ...[`Address = ${INNER.hub}/24`, `ListenPort = ${TUNNEL_PORT}`],
    peerSections(peersOfHub(network)),
  ]);
}

function ourAgent(network: Network): Promise<Process> {
  return ours(network, network.hosts.agent, "agent", [
    ...["[Interface]", `PrivateKey = ${network.keys.agent.privateKey}`],
    ...[`Address = ${INNER.agent}/24`, "[Proxy]", `Subnets = ${TARGETS}`],
    peerSections([{
      publicKey: network.keys.hub.publicKey,
      allowedIps: ["100.64.0.0/24"],
      endpoint: `${HUB_FOR_AGENTS}:${TUNNEL_PORT}`,
      persistentKeepalive: 1,
    }]),
  ]);
}

/** wireguard-go with the kernel between its peers. */
async function kernelHub(network: Network): Promise<Process> {
  const { hosts: { hub }, keys } = network;
  const device = `wst${Deno.pid}h${serial++}`;
  const process = hub.spawn("wireguard-go", onGatewayCore(["wireguard-go", "-f", device]), {
    env: { PATH: Deno.env.get("PATH")!, LOG_LEVEL: "error" },
  });
  hub.disposeFile(`/var/run/wireguard/${device}.sock`);
  const text = [
    ...["[Interface]", `PrivateKey = ${keys.hub.privateKey}`, `ListenPort = ${TUNNEL_PORT}`],
    peerSections(peersOfHub(network)),
  ].join("\n");
  await configured(hub, device, text);
  await hub.addAddresses(device, [`${INNER.hub}/24`]);
  await hub.ip(`link set ${device} mtu 1420 up`, `route add ${TARGETS} dev ${device}`);
  return process;
}

let serial = 0;

async function configured(host: Host, device: string, input: string): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    // Not with `wg` at once: that removes a socket which is bound and does not listen yet.
    const isThere = await Deno.connect({
      transport: "unix",
      path: `/var/run/wireguard/${device}.sock`,
    }).then((connection) => (connection.close(), true), () => false);
    if (isThere) break;
    if (performance.now() > until) throw new Error(`${device}: no socket`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await host.output(["wg", "setconf", device, "/dev/stdin"], { input });
}

function newtAgent({ hosts, keys, directory }: Network): Promise<Process> {
  const input = [
    `private_key=${hex(keys.agent.privateKey)}`,
    `public_key=${hex(keys.hub.publicKey)}`,
    "allowed_ip=100.64.0.0/24",
    `endpoint=${HUB_FOR_AGENTS}:${TUNNEL_PORT}`,
    "persistent_keepalive_interval=1",
    "",
  ].join("\n");
  return Promise.resolve(hosts.agent.spawn(
    "newt",
    onGatewayCore([
      ...[`${directory}/newt`, "-address", INNER.agent],
      ...["-sources", `${INNER.client}/32`, "-targets", TARGETS],
    ]),
    { input },
  ));
}

function table(rows: { scenario: string; name: string; samples: Sample[] }[]): string {
  const of = (samples: Sample[], pick: (sample: Sample) => number | undefined, digits: number) => {
    const values = samples.map(pick).filter((value) => value !== undefined);
    return values.length === 0 ? "" : median(values).toFixed(digits);
  };
  return [
    "| scenario | hub + agent | Mbit/s | p50 µs | hub CPU-s/GB | agent CPU-s/GB | both | hub, agent, core 0 | hub RSS MB | agent RSS MB |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ...rows.map(({ scenario, name, samples }) => {
      const shares = [0, 1, 2].map((i) => of(samples, (one) => one.shares[i]! * 100, 0));
      return `| ${
        [
          scenario,
          name,
          of(samples, ({ mbps }) => mbps, 0),
          of(samples, ({ p50 }) => p50, 0),
          of(samples, ({ hub }) => hub, 2),
          of(samples, ({ agent }) => agent, 2),
          of(samples, ({ hub, agent }) => hub && hub + agent!, 2),
          `${shares.join(", ")} %`,
          of(samples, ({ hubBytes }) => hubBytes / 1e6, 0),
          of(samples, ({ agentBytes }) => agentBytes / 1e6, 0),
        ].join(" | ")
      } |`;
    }),
  ].join("\n");
}
