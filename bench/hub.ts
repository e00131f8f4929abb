/**
 * A hub with thousands of peers: what handshakes, memory, rest and forwarding cost it, beside
 * wireguard-go with the kernel's forwarding.
 *
 *     crowd, one process: 1,000 clients, 1,000 agents ── veth ── hub, the other process
 *
 *     deno task bench:hub [--peers 2,1000,2000] [--seconds 5] [--rest 20] [--rounds 1]
 *                         [--loads one,small,all] [--subjects wirestack,wireguard-go]
 *                         [--rules] [--profile DIRECTORY] [--json FILE]
 *
 * As root, on two cores, one for the hub and one for the crowd. The first half of the peers are
 * clients, the nth of which sends to the nth of the second half, the agents. Loads: `one` pair with
 * full packets, which the kernel takes and gives many at a time; `small`, 228 bytes; `all` pairs, a
 * packet each in turn. With `--rules` ours has a rule that lets them. wireguard-go is the newest, built
 * from its published source, as for bench:tun. CPU is that of the hub's process, the kernel's work for
 * it included; GB is 10^9 bytes of the packets inside.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../proxy/base64.ts";
import { eventually, type Host, Lab, missing } from "../tests/e2e/lab.ts";
import type { Process } from "../tests/e2e/process.ts";
import { type Connected, type CrowdCommand, innerAddress, type Sent } from "./hub/crowd.ts";
import { buildWireguardGo } from "./peers/build.ts";
import { read, residentBytes } from "./peers/cpu.ts";
import { prioritise, unprioritise } from "./peers/priority.ts";
import { v8Flags } from "./v8_flags.ts";

const PORT = 51820;
const MTU = 1420;
const HUB = { address: "192.168.73.1", inner: "10.78.255.1" };
const CROWD = "192.168.73.2";
const HUB_CORE = 0;
const CROWD_CORE = 1;
const KEEPALIVE_S = 25;
const SETTLE_MS = 5_000;
/** What the handshakes have left for the garbage collector, it has collected. */
const REST_BEGINS_MS = 30_000;

interface Subject {
  readonly name: string;
  /** Whether it calls its peers when it is started again. */
  readonly remembers?: boolean;
  /** @returns once it answers. */
  start(host: Host, directory: string, file: string): Promise<Process>;
}

/** What was measured with so many peers. */
interface Figures {
  readonly subject: string;
  readonly peers: number;
  /** Bytes: before the first handshake, and with a session for each. */
  readonly rss: { readonly idle: number; readonly connected: number };
  readonly connect: Connected & { readonly cpuSeconds: number };
  /** With a keepalive from each every 25 s. */
  readonly restPercent: number;
  readonly flows: Record<string, Flowing>;
  /** From the start of its next process until each has a session again. */
  readonly restart?: Connected;
}

interface Flowing {
  readonly packetsPerSecond: number;
  readonly megabits: number;
  readonly lostPercent: number;
  readonly cpuPerGb: number;
  readonly cpuMicroseconds: number;
  /** Cores. */
  readonly hub: number;
}

interface Load {
  readonly pairs: number;
  readonly size: number;
  readonly burst: number;
  readonly window: number;
}

const LOADS: Readonly<Record<string, Load>> = {
  one: { pairs: 1, size: 1420, burst: 16, window: 384 },
  small: { pairs: 1, size: 228, burst: 16, window: 384 },
  all: { pairs: Infinity, size: 1420, burst: 1, window: 384 },
};

if (import.meta.main) {
  const reason = missing(["ip", "taskset", "wg"]);
  if (reason !== undefined) throw new Error(`the bench makes network namespaces: ${reason}`);
  const { values } = parseArgs({
    options: {
      peers: { type: "string", default: "2,1000,2000" },
      seconds: { type: "string", default: "5" },
      rest: { type: "string", default: "20" },
      rounds: { type: "string", default: "1" },
      subjects: { type: "string", default: "wirestack,wireguard-go" },
      rules: { type: "boolean", default: false },
      loads: { type: "string", default: "one,small,all" },
      profile: { type: "string" },
      json: { type: "string" },
    },
  });
  const all: Figures[] = [];
  const subjects: Subject[] = [];
  for (const name of values.subjects.split(",")) {
    subjects.push(await subjectOf(name, values));
  }
  try {
    await prioritise(CROWD_CORE);
    for (let round = 1; round <= Number(values.rounds); round++) {
      for (const peers of values.peers.split(",").map(Number)) {
        for (const subject of subjects) {
          all.push(await measure(subject, peers, values));
          console.error(JSON.stringify(all.at(-1)));
        }
      }
    }
  } finally {
    unprioritise();
  }
  console.log(table(all));
  if (values.json !== undefined) Deno.writeTextFileSync(values.json, JSON.stringify(all));
}

async function measure(
  subject: Subject,
  peers: number,
  options: { readonly seconds: string; readonly rest: string; readonly loads: string },
): Promise<Figures> {
  const [seconds, rest] = [Number(options.seconds), Number(options.rest)];
  await using lab = await Lab.create();
  const [hubHost, crowdHost] = [await lab.host("hub"), await lab.host("crowd")];
  await lab.connect(
    { host: hubHost, device: "cable", addresses: [`${HUB.address}/24`] },
    { host: crowdHost, device: "cable", addresses: [`${CROWD}/24`] },
  );
  await hubHost.ip(`route add 10.77.0.0/16 via ${CROWD}`);
  await crowdHost.ip("route add local 10.77.0.0/16 dev lo");
  const key = generatePrivateKey();
  const keys = Array.from({ length: peers }, generatePrivateKey);
  const file = `${lab.directory}/hub.conf`;
  await Deno.writeTextFile(file, configOf(key, keys), { mode: 0o600 });
  let hub = await subject.start(hubHost, lab.directory, file);
  await settle();
  const idle = residentBytes(hub.pid);
  const crowd = crowdHost.spawn("crowd", [
    ...["taskset", "--cpu-list", `${CROWD_CORE}`],
    ...[
      Deno.execPath(),
      "run",
      "-A",
      "--no-check",
      new URL("./hub/crowd.ts", import.meta.url).pathname,
    ],
  ]);
  await crowd.send(
    JSON.stringify({
      hub: { address: HUB.address, port: PORT, publicKey: publicKeyOf(key).toHex() },
      keys: keys.map((bytes) => bytes.toHex()),
    }) + "\n",
  );
  await crowd.line(/ready/, { timeoutMs: 60_000 });
  const ask = async <T>(command: CrowdCommand): Promise<T & { cpuSeconds: number }> => {
    const from = crowd.lines.length;
    const before = read(hub.pid).gateway;
    await crowd.send(`${JSON.stringify(command)}\n`);
    const [answer] = await crowd.line(/^\{.*\}$/, { from, timeoutMs: 120_000 });
    return { ...JSON.parse(answer!), cpuSeconds: read(hub.pid).gateway - before };
  };
  const connect = await ask<Connected>({
    do: "connect",
    first: 0,
    end: peers,
    keepalive: KEEPALIVE_S,
  });
  await settle();
  const connected = residentBytes(hub.pid);
  await new Promise((resolve) => setTimeout(resolve, rest > 0 ? REST_BEGINS_MS : 0));
  const before = read(hub.pid);
  await new Promise((resolve) => setTimeout(resolve, rest * 1000));
  const after = read(hub.pid);
  const flows: Record<string, Flowing> = {};
  for (const name of options.loads.split(",").filter((name) => name in LOADS)) {
    const { pairs, size, burst, window } = LOADS[name]!;
    const half = peers >> 1;
    const from = Array.from({ length: Math.min(pairs, half) }, (_, i) => i);
    const to = from.map((i) => half + i);
    const send = (seconds: number) =>
      ask<Sent>({ do: "send", from, to, seconds, size, burst, window });
    await send(2); // what compiles itself while it runs, has
    await settle();
    const { cpuSeconds, seconds: took, sent, received, lost } = await send(seconds);
    flows[name] = {
      packetsPerSecond: Math.round(received / took),
      megabits: received * size * 8 / took / 1e6,
      lostPercent: 100 * lost / sent,
      cpuPerGb: cpuSeconds / (received * size / 1e9),
      cpuMicroseconds: cpuSeconds / received * 1e6,
      hub: cpuSeconds / took,
    };
  }
  hub.signal("SIGTERM"); // and a profile is written
  await hub.exit(20_000);
  let restart: Connected | undefined;
  if (subject.remembers) {
    const again = ask<Connected>({ do: "await" });
    hub = await subject.start(hubHost, lab.directory, file);
    restart = await again;
  }
  return {
    subject: subject.name,
    peers,
    rss: { idle, connected },
    connect,
    restPercent: rest === 0
      ? 0
      : 100 * (after.gateway - before.gateway) / (after.at - before.at) * 1000,
    flows,
    ...(restart && { restart }),
  };
}

function configOf(key: Uint8Array, keys: readonly Uint8Array[]): string {
  return `[Interface]\nPrivateKey = ${encodeKey(key)}\nListenPort = ${PORT}\n` +
    keys.map((peer, n) =>
      `[Peer]\nPublicKey = ${encodeKey(publicKeyOf(peer))}\nAllowedIPs = ${innerAddress(n)}/32\n`
    ).join("");
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}

function pinned(command: readonly string[]): string[] {
  return ["taskset", "--cpu-list", `${HUB_CORE}`, ...command];
}

async function subjectOf(
  name: string,
  { profile, rules }: { readonly profile?: string; readonly rules: boolean },
): Promise<Subject> {
  if (name === "wirestack") {
    const start: Subject["start"] = async (host, directory, file) => {
      const process = host.spawn(
        name,
        pinned([
          ...[Deno.execPath(), "run", "-A", "--no-check"],
          ...profile === undefined ? [] : [`--cpu-prof`, `--cpu-prof-dir=${profile}`],
          v8Flags(),
          new URL("../main.ts", import.meta.url).pathname,
          ...["hub", "--log-level", "warning", "--control-dir", directory, "--mtu", `${MTU}`],
          ...rules ? ["--rule", "allow", "--rule-to", "10.78.0.0/16", "--rule-ports", "udp/7"] : [],
          ...profile === undefined ? [] : ["--no-confine"],
          ...["--address", `${HUB.inner}/16`, file],
        ]),
        { env: { ...Deno.env.toObject(), XDG_STATE_HOME: directory } },
      );
      await eventually("the hub's control socket", () => exists(`${directory}/hub.sock`), {
        timeoutMs: 60_000,
      });
      return process;
    };
    return { name, start, remembers: true };
  }
  if (name !== "wireguard-go") {
    throw new RangeError(`a subject is wirestack or wireguard-go, not "${name}"`);
  }
  const built = await buildWireguardGo();
  const start: Subject["start"] = async (host, _directory, file) => {
    const device = `wst${Deno.pid}hub`;
    host.disposeFile(`/var/run/wireguard/${device}.sock`);
    const process = host.spawn(name, pinned([`${built}/wireguard`, "-f", device]), {
      env: { PATH: Deno.env.get("PATH")!, WG_PROCESS_FOREGROUND: "1", LOG_LEVEL: "error" },
    });
    await eventually(device, async () => (await host.run(["wg", "show", device])).code === 0);
    await host.output(["wg", "setconf", device, file]);
    await host.addAddresses(device, [`${HUB.inner}/16`]);
    await host.ip(`link set ${device} mtu ${MTU} up`);
    await host.sysctl("net.ipv4.ip_forward=1");
    return process;
  };
  return { name, start };
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}

function table(all: readonly Figures[]): string {
  const loads = Object.keys(all[0]!.flows);
  const head = [
    ...["hub", "peers", "handshakes/s", "RSS, no sessions", "RSS, all", "CPU at rest"],
    "all back after a restart",
    ...loads,
  ];
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  const rows = all.map(({ subject, peers, rss, connect, restPercent, flows, restart }) => [
    ...[subject, `${peers}`, `${Math.round(connect.connected / connect.allMs * 1000)}`],
    ...[mib(rss.idle), mib(rss.connected), `${restPercent.toFixed(2)} %`],
    restart === undefined ? "-" : `${(restart.allMs / 1000).toFixed(1)} s`,
    ...loads.map((name) => {
      const { megabits, packetsPerSecond, cpuPerGb, cpuMicroseconds } = flows[name]!;
      return `${megabits.toFixed(0)} Mbit/s, ${packetsPerSecond}/s, ${cpuPerGb.toFixed(2)} s/GB, ` +
        `${cpuMicroseconds.toFixed(2)} µs`;
    }),
  ]);
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join(
    "\n",
  );
}
