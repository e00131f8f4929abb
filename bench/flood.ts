/**
 * A flood of handshakes against a gateway that carries 100 Mbit/s, with real sockets on loopback, a
 * process for each: the gateway, the flood, and this one, which talks and brings a new client.
 *
 *     deno task bench:flood [--kind mixed] [--rate 50000] [--mbit 100] [--seconds 10]
 *
 * Kinds: `none`, `bad` (wrong mac1), `replay` (genuine initiations again), `nonsense` (a right mac1
 * and nothing behind it, one source), `many` (the same from 250 sources), `mixed` (the first three).
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { loadConfig } from "../proxy/config.ts";
import { nodeCrypto } from "../proxy/crypto.ts";
import { formatConfigFile } from "../proxy/config_format.ts";
import { Gateway } from "../proxy/gateway.ts";
import { decodeKey, encodeKey, generatePrivateKey, publicKeyOf } from "../proxy/keys.ts";
import { HASH, writeMAC } from "../wireguard/hash.ts";
import { Device } from "../wireguard/mod.ts";

const MTU = 1420;
const KINDS = ["none", "bad", "replay", "nonsense", "many", "mixed"];

interface Report {
  readonly port: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly rss: number;
  readonly counters: Record<string, number>;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kind: { type: "string", default: "mixed" },
    rate: { type: "string", default: "50000" },
    mbit: { type: "string", default: "100" },
    seconds: { type: "string", default: "10" },
  },
});
const rate = Number(values.rate);
const seconds = Number(values.seconds);

async function main(): Promise<void> {
  if (!KINDS.includes(values.kind)) throw new RangeError(`--kind is one of ${KINDS.join(", ")}`);
  const [server, talkerKey, newcomerKey] = [1, 2, 3].map(generatePrivateKey);
  const config = formatConfigFile({
    interface: { privateKey: encodeKey(server!), address: ["10.9.0.1/24"] },
    peers: [talkerKey!, newcomerKey!].map((key, i) => ({
      publicKey: encodeKey(publicKeyOf(key)),
      allowedIps: [`10.9.0.${2 + i}/32`],
    })),
  });
  const running = spawn(["gateway"]);
  let latest: Report | undefined;
  const rss: number[] = [];
  (async () => {
    for await (const line of linesOf(running.stdout)) {
      latest = JSON.parse(line) as Report;
      rss.push(latest.rss);
    }
  })();
  /** Made after this call. */
  const report = async (): Promise<Report> => {
    const last = latest;
    await until(() => latest !== last, Infinity);
    const first = latest;
    await until(() => latest !== first, Infinity);
    return latest!;
  };
  await write(running, config);
  const { port } = await report();

  const talker = new Client(talkerKey!, publicKeyOf(server!), port);
  const newcomer = new Client(newcomerKey!, publicKeyOf(server!), port);
  talker.peer.initiate(performance.now());
  talker.work();
  await until(() => talker.peer.hasSession);

  const before = await report();
  const talking = talker.talk(Number(values.mbit), seconds);
  let flooding: Deno.ChildProcess | undefined;
  if (values.kind !== "none") {
    flooding = spawn([
      "flood",
      "--kind",
      values.kind,
      "--rate",
      values.rate,
      "--seconds",
      values.seconds,
    ]);
    const initiations = talker.initiations.map((bytes) => bytes.toHex());
    await write(
      flooding,
      JSON.stringify({ port, publicKey: encodeKey(publicKeyOf(server!)), initiations }),
    );
  }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000 / 3));
  const came = performance.now();
  newcomer.peer.initiate(came);
  newcomer.work();
  const isIn = await until(() => newcomer.peer.hasSession, came + 20_000).then(
    () => true,
    () => false,
  );
  const newcomerMs = performance.now() - came;
  const sent = await talking;
  const flooded = flooding && (await flooding.output()).stdout;
  const after = await report();
  running.kill();
  await running.status;

  const difference = (name: string) => after.counters[name]! - before.counters[name]!;
  const received = difference("packetsReceived");
  console.log(JSON.stringify(
    {
      kind: values.kind,
      flooded: flooded && new TextDecoder().decode(flooded).trim(),
      sentMbit: round(sent * MTU * 8 / seconds / 1e6),
      receivedMbit: round(received * MTU * 8 / seconds / 1e6),
      received: `${round(100 * received / sent)} %`,
      newcomer: isIn ? `${Math.round(newcomerMs)} ms` : "not in",
      gatewayCpu: `${
        Math.round(100 * (after.cpuSeconds - before.cpuSeconds) / (after.seconds - before.seconds))
      } %`,
      /** Every 2.5 s. */
      rssMb: rss.filter((_, i) => i % 5 === 0).map((bytes) => Math.round(bytes / 1e6)),
      dropped: Object.fromEntries(
        Object.keys(after.counters)
          .filter((name) => /^dropped|cookieReplies/.test(name) && difference(name) > 0)
          .map((name) => [name, difference(name)]),
      ),
    },
    undefined,
    1,
  ));
  talker.close();
  newcomer.close();
}

/** Runs until it is killed; a report every half second. */
async function gateway(): Promise<void> {
  const text = await new Response(Deno.stdin.readable).text();
  const gateway = await Gateway.start(loadConfig(text, { file: "flood.conf" }).config);
  const started = performance.now();
  for (;;) {
    const { user, system } = process.cpuUsage();
    const report: Report = {
      port: gateway.port,
      seconds: (performance.now() - started) / 1000,
      cpuSeconds: (user + system) / 1e6,
      rss: Deno.memoryUsage().rss,
      counters: { ...gateway.engine.device.counters },
    };
    console.log(JSON.stringify(report));
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Sends at the rate for the time, and says how many. */
async function flood(): Promise<void> {
  const { port, publicKey, initiations } = JSON.parse(
    await new Response(Deno.stdin.readable).text(),
  );
  const kinds = values.kind === "mixed" ? ["bad", "replay", "nonsense"] : [values.kind];
  const messages: Uint8Array[] = [];
  const mac1Key = HASH(new TextEncoder().encode("mac1----"), decodeKey(publicKey)!);
  for (let i = 0; i < 3000; i++) {
    const kind = kinds[i % kinds.length];
    const bytes = new Uint8Array(148);
    crypto.getRandomValues(bytes);
    bytes.set([1, 0, 0, 0]);
    bytes.fill(0, 132);
    if (kind === "replay") bytes.set(Uint8Array.fromHex(initiations[i % initiations.length]));
    else if (kind !== "bad") writeMAC(mac1Key, bytes, 0, 116, bytes, 116);
    messages.push(bytes);
  }
  const sources = values.kind === "many" ? 250 : 1;
  const sockets = Array.from(
    { length: sources },
    (_, i) => Deno.listenDatagram({ transport: "udp", hostname: `127.7.${i}.9`, port: 0 }),
  );
  const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
  const start = performance.now();
  let sent = 0;
  for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - start) {
    const due = Math.min(sent + 2000, elapsed * rate / 1000);
    const sends: Promise<number>[] = [];
    for (; sent < due; sent++) {
      sends.push(sockets[sent % sources]!.send(messages[sent % messages.length]!, to));
    }
    await Promise.all(sends);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  console.log(`${Math.round(sent / (performance.now() - start) * 1000)} per second`);
  Deno.exit(0);
}

/** A device of ours with a socket. */
class Client {
  readonly device: Device;
  readonly peer;
  readonly initiations: Uint8Array[] = [];
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #timer = setInterval(() => this.work(), 20);
  #sending = 0;

  constructor(privateKey: Uint8Array, serverKey: Uint8Array, port: number) {
    const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
    this.device = new Device({
      privateKey,
      crypto: nodeCrypto,
      random: (out) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>),
      wallClock: Date.now,
      sink: {
        transmit: (_to, buffer, offset, length) => {
          const bytes = buffer.slice(offset, offset + length);
          if (bytes[0] === 1) this.initiations.push(bytes);
          this.#sending++;
          this.#socket.send(bytes, to).catch(() => {}).finally(() => this.#sending--);
        },
        receive: () => {},
      },
      now: performance.now(),
    });
    this.peer = this.device.addPeer({
      publicKey: serverKey,
      allowedIps: [{ address: new Uint8Array(4), length: 0 }],
      endpoint: { address: Uint8Array.of(127, 0, 0, 1), port },
    }, performance.now());
    this.#receive();
  }

  work(): void {
    const now = performance.now();
    this.device.handleTimeout(now);
    this.device.handleHandshakes(now, 4);
  }

  /** @returns packets sent. */
  async talk(mbit: number, seconds: number): Promise<number> {
    const packet = new Uint8Array(16 + MTU + 32);
    const start = performance.now();
    const perMs = mbit * 1e3 / 8 / MTU;
    let sent = 0;
    for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - start) {
      // Evenly, a few at a time: a burst would overflow the gateway's socket without any flood.
      for (let i = 0; sent < elapsed * perMs && i < 32 && this.#sending < 64; i++, sent++) {
        packet.fill(0);
        packet.set([
          0x45,
          0,
          MTU >> 8,
          MTU & 255,
          0,
          0,
          0,
          0,
          64,
          17,
          0,
          0,
          10,
          9,
          0,
          2,
          10,
          99,
          0,
          1,
        ], 16);
        this.device.sendPacket(packet, 16, MTU, performance.now());
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return sent;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }

  async #receive(): Promise<void> {
    const from = [...this.device.peers()][0]!.endpoint!;
    for (;;) {
      const received = await this.#socket.receive().catch(() => undefined);
      if (received === undefined) return;
      this.device.handleDatagram(received[0], 0, received[0].length, from, performance.now());
      this.work();
    }
  }
}

function spawn(args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "-A", import.meta.filename!, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

async function write(child: Deno.ChildProcess, text: string): Promise<void> {
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

async function until(condition: () => boolean, deadline = performance.now() + 5000): Promise<void> {
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it takes too long");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

if (positionals[0] === "gateway") await gateway();
else if (positionals[0] === "flood") await flood();
else await main();
