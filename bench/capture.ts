/**
 * What a capture costs the gateway beside a paced download, and whether it loses packets: the gateway
 * on one core, the client, the target and `wirestack capture` on the other. As root, for the cores.
 *
 *     deno task bench:capture [--mbit 300] [--seconds 6] [--runs 3] [--no-ffi] [--at nic1]
 *
 * Each run measures without a capture and with one, into files, by turns.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../proxy/base64.ts";
import { formatConfigFile } from "../proxy/config/format.ts";
import { Wirestack } from "../mod.ts";
import { between, read } from "./peers/cpu.ts";

const { values } = parseArgs({
  options: {
    mbit: { type: "string", default: "300" },
    seconds: { type: "string", default: "6" },
    runs: { type: "string", default: "3" },
    at: { type: "string", default: "nic1" },
    "no-ffi": { type: "boolean", default: false },
  },
});
const SECONDS = Number(values.seconds);
const MAIN = new URL("../main.ts", import.meta.url).pathname;
const GATEWAY_CORE = "0";
const OTHER_CORE = "1";
const WARM_UP_MS = 2_000;
/** What each program has said so far. */
const states = new Map<Deno.ChildProcess, { text: string }>();

await new Deno.Command("taskset", { args: ["-a", "-p", "-c", OTHER_CORE, String(Deno.pid)] })
  .output();
const folder = await Deno.makeTempDir();
const [gatewayKey, clientKey] = [generatePrivateKey(), generatePrivateKey()];
const PORT = 40_000 + Deno.pid % 20_000;
await Deno.writeTextFile(
  `${folder}/gw.conf`,
  formatConfigFile({
    interface: { privateKey: encodeKey(gatewayKey), address: "10.9.0.1/24", listenPort: PORT },
    peers: [{
      name: "client",
      publicKey: encodeKey(publicKeyOf(clientKey)),
      allowedIps: "10.9.0.2/32",
      rateDown: `${values.mbit}Mbit`,
    }],
    proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1/32 -> 127.0.0.1/32"] },
  }),
  { mode: 0o600 },
);
const flags = ["run", "--no-prompt", "--no-check", "-A", MAIN];
const gateway = new Deno.Command("taskset", {
  args: [
    ...["-c", GATEWAY_CORE, Deno.execPath(), ...flags, "up", `${folder}/gw.conf`],
    ...["--control-dir", folder, ...values["no-ffi"] ? ["--no-ffi"] : []],
  ],
  env: { STATE_DIRECTORY: folder }, // the machine's own is left alone
  stdout: "null",
  stderr: "piped",
}).spawn();
await lineOf(gateway, /control socket/);

let received = 0;
const target = Deno.listen({ hostname: "127.0.0.1", port: 0 });
serve();
const client = await Wirestack.start({
  interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
  peers: [{
    publicKey: encodeKey(publicKeyOf(gatewayKey)),
    allowedIps: "10.50.0.0/16",
    endpoint: `127.0.0.1:${PORT}`,
  }],
});
const conn = await client.connect({
  hostname: "10.50.0.1",
  port: (target.addr as Deno.NetAddr).port,
});
drain();
await sleep(WARM_UP_MS);

const ratios: number[] = [];
for (let run = 1; run <= Number(values.runs); run++) {
  const without = await measure();
  const reader = new Deno.Command("taskset", {
    args: [
      ...["-c", OTHER_CORE, Deno.execPath(), ...flags, "capture", "--control-dir", folder],
      ...["--write", `${folder}/a.pcapng`, "--at", values.at, "--rotate", "64M,2"],
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  await lineOf(reader, /capturing at/);
  await sleep(WARM_UP_MS);
  const with_ = await measure();
  reader.kill("SIGINT");
  const [text] = await lineOf(reader, /\d+ packets, \d+ were lost/);
  await reader.status;
  const ratio = with_.perGb / without.perGb;
  ratios.push(ratio);
  console.log(JSON.stringify({ run, without, with: with_, ratio: round(ratio), reader: text }));
}
ratios.sort((a, b) => a - b);
console.log(`CPU per GB with a capture: ${round(ratios[ratios.length >> 1]!)} times (median)`);
await client.close({ graceMs: 0 });
target.close();
gateway.kill("SIGTERM");
await gateway.status;
await Deno.remove(folder, { recursive: true });
Deno.exit(0);

async function measure() {
  const [before, bytes] = [read(gateway.pid), received];
  await sleep(SECONDS * 1000);
  const { gatewaySeconds, seconds, busy } = between(before, read(gateway.pid));
  const gigabytes = (received - bytes) / 1e9;
  return {
    mbit: Math.round(gigabytes * 8_000 / seconds),
    cpuPercent: Math.round(100 * gatewaySeconds / seconds),
    perGb: round(gatewaySeconds / gigabytes),
    busy: busy.map(round),
  };
}

async function serve(): Promise<void> {
  for await (const conn of target) {
    const bytes = new Uint8Array(256 << 10);
    (async () => {
      for (;;) await conn.write(bytes);
    })().catch(() => conn.close());
  }
}

async function drain(): Promise<void> {
  const buffer = new Uint8Array(256 << 10);
  for (let length; (length = await conn.read(buffer).catch(() => null)) !== null;) {
    received += length;
  }
}

/** Reads on behind it, so that the program is never held up. */
async function lineOf(child: Deno.ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  const state = states.get(child) ?? { text: "" };
  if (!states.has(child)) {
    states.set(child, state);
    (async () => {
      for await (const piece of child.stderr.pipeThrough(new TextDecoderStream())) {
        state.text += piece;
      }
    })();
  }
  for (const limit = performance.now() + 30_000;;) {
    const match = pattern.exec(state.text);
    if (match !== null) return match;
    if (performance.now() > limit) throw new Error(`no ${pattern} in:\n${state.text}`);
    await sleep(10);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
