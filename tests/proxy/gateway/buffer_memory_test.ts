import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import process from "node:process";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { bufferMemory, openMemoryBudget } from "../../../proxy/gateway/buffer_memory.ts";
import type { TunnelConn } from "../../../proxy/tunnel/conn.ts";
import { captureLog } from "../log/capture.ts";
import { Process } from "../../e2e/process.ts";
import { SITE } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { TempFolder } from "../../temp_folder.ts";
import config from "../../../deno.json" with { type: "json" };

const ROOT = new URL("../../../", import.meta.url).pathname;
/** What the task `start` has of what memory depends on. */
const FLAGS = config.tasks.start.command.split(" ").filter((word) =>
  /^--(?:v8-flags=|unstable-)/.test(word)
);
const MIB = 1 << 20;
const BUDGET = 128 * MIB;
const STALLED = 2_000;
const DOWNLOAD = 4 * MIB;

/**
 * More than a stalled connection takes in client and gateway. What is left waits in the kernel, whose
 * memory is everybody's: a machine that has none left resets the connections of other tests.
 */
const POURED = 256 << 10;

/** A target that writes `limit` bytes to everybody, 64 kB at a time, and closes nothing. */
async function fountain(limit: number): Promise<{ port: number } & AsyncDisposable> {
  const chunk = new Uint8Array(65_536);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let left = limit;
    const pour = () => {
      while (!socket.destroyed && left > 0) {
        left -= chunk.length;
        if (!socket.write(chunk)) return;
      }
    };
    socket.on("drain", pour).on("error", () => {}).on("close", () => sockets.delete(socket));
    pour();
  });
  const listening = Promise.withResolvers<void>();
  server.listen({ host: "127.0.0.1", port: 0, backlog: 4_096 }, listening.resolve);
  await listening.promise;
  const { port } = server.address() as { port: number };
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function residentBytes(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(status.match(/^VmRSS:\s+(\d+) kB$/m)![1]) * 1024;
}

/** Takes `bytes` on a new connection. @returns how long it took, ms. */
async function download(connect: () => Promise<TunnelConn>, bytes: number): Promise<number> {
  const begin = performance.now();
  using conn = await connect();
  const buffer = new Uint8Array(65_536);
  for (let left = bytes; left > 0;) left -= (await conn.read(buffer))!;
  return performance.now() - begin;
}

async function assertWithin(pid: number): Promise<void> {
  const bytes = await residentBytes(pid);
  assert.ok(bytes < BUDGET + 100 * MIB, `${Math.round(bytes / MIB)} MB`);
}

/** Until next to nothing comes any more. */
async function quiet(received: () => number): Promise<void> {
  for (let before = -Infinity, now = received(); now - before > 65_536; now = received()) {
    before = now;
    await delay(250);
  }
}

Deno.test("a period of pressure is one line when it begins and one when it ends, whatever it resets", () => {
  using log = captureLog();
  const budget = openMemoryBudget(BUDGET);
  const account = budget.join("laptop");
  for (let period = 0; period < 2; period++) {
    budget.charge("laptop", budget.room);
    for (let i = 0; i < 1_000; i++) assert.equal(account.take(MIB, MIB, false), false);
    budget.resets += 300;
    budget.charge("laptop", -budget.used);
  }
  budget.leave(account);
  assert.deepEqual(log.lines.map((line) => line.trim().replace(/^\S+ /, "")), [
    "info    proxy: buffers of connections: up to 128 MB in all",
    ...Array(2).fill([
      "warning proxy: buffers of connections: 128 of 128 MB in use (MaxBufferMemory): they grow no more",
      "info    proxy: buffers of connections: 20 of 128 MB in use again, 300 connections were reset",
    ]).flat(),
  ]);
  assert.deepEqual([budget.refusals, budget.resets, budget.episodes], [2_000, 600, 2]);
});

/** What a gateway says of its budget, which runs until it has said it. */
async function budgetOf(flags: readonly string[], file = "", prefix: readonly string[] = []) {
  using state = new TempFolder();
  await using gateway = new Process("gateway", [
    ...[
      ...prefix,
      "env",
      `STATE_DIRECTORY=${state.path}`,
      Deno.execPath(),
      "run",
      "--quiet",
      "--no-prompt",
      "--no-check",
      "--allow-all",
    ],
    ...[...FLAGS, "main.ts", "up", "-", "--control-dir", "off", "--no-confine", ...flags],
  ], {
    cwd: ROOT,
    input: `[Interface]\nPrivateKey = ${
      encodeKey(generatePrivateKey())
    }\nPeerToPeer = true\n${file}`,
  });
  const [, megabytes] = await gateway.line(/buffers of connections: up to (\d+) MB in all/);
  return Number(megabytes);
}

Deno.test(
  "the budget is what the flag says, else the file, else a quarter of the memory there is",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    const file = "[Proxy]\nMaxBufferMemory = 200M\n";
    assert.equal(await budgetOf(["--max-buffer-memory", "300M"], file), 300);
    assert.equal(await budgetOf([], file), 200);
    const [, kilobytes] = /^MemTotal:\s+(\d+) kB$/m.exec(await Deno.readTextFile("/proc/meminfo"))!;
    const limit = process.constrainedMemory() || Infinity;
    const expected = Math.floor(Math.min(Number(kilobytes) * 1024, limit) / 4);
    assert.equal(bufferMemory(undefined), expected);
    assert.equal(await budgetOf([]), Math.round(expected / MIB));
  },
);

/** A cgroup of that much memory; undefined where none can be made. */
async function memoryGroup(bytes: number) {
  for (const [parent, key] of GROUPS) {
    const path = `${parent}/wirestack-${crypto.randomUUID()}`;
    try {
      await Deno.mkdir(path);
    } catch {
      continue;
    }
    const group = { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
    try {
      await Deno.writeTextFile(`${path}/${key}`, String(bytes));
      return group;
    } catch {
      await group[Symbol.asyncDispose]();
    }
  }
  return undefined;
}

/** Of either version: where its groups are, and what limits one. */
const GROUPS = [
  ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"],
  ["/sys/fs/cgroup", "memory.max"],
] as const;

Deno.test("in a cgroup the budget is a quarter of what that has", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using group = await memoryGroup(1 << 30);
  if (group === undefined) return console.log("skipped: no cgroup can be made here");
  const enter = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', group.path];
  assert.equal(await budgetOf([], "", enter), 256);
});

Deno.test(
  "2,000 clients that do not read: the gateway stays within 100 MB of its budget, a new one is fast",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    const [gatewayKey, clientKey] = [generatePrivateKey(), generatePrivateKey()];
    await using target = await fountain(DOWNLOAD);
    await using stalling = await fountain(POURED);
    const file = `[Interface]\nPrivateKey = ${encodeKey(gatewayKey)}\nAddress = 10.9.0.1/24\n` +
      `[Peer]\nPublicKey = ${encodeKey(publicKeyOf(clientKey))}\nAllowedIPs = 10.9.0.2/32\n` +
      `[Proxy]\nSubnets = 10.50.0.0/16\nMap = ${SITE} -> 127.0.0.1\nMaxBufferMemory = ${BUDGET}\n` +
      `TcpDialTimeout = 60\n`;
    const state = await Deno.makeTempDir();
    await using _state = {
      [Symbol.asyncDispose]: () => Deno.remove(state, { recursive: true }),
    };
    await using gateway = new Process("gateway", [
      ...["env", `STATE_DIRECTORY=${state}`, Deno.execPath()],
      ...[
        "run",
        "--quiet",
        "--no-prompt",
        "--no-check",
        "--allow-all",
        ...FLAGS,
        "main.ts",
        "up",
        "-",
      ],
      ...["--control-dir", "off", "--no-confine"],
    ], { cwd: ROOT, input: file });
    await gateway.line(/buffers of connections: up to 128 MB in all/, { timeoutMs: 60_000 });
    const [, port] = await gateway.line(/listening on UDP port (\d+)/);
    await using client = await startWirestack({
      interface: { privateKey: encodeKey(clientKey), address: ["10.9.0.2/24"] },
      peers: [{
        publicKey: encodeKey(publicKeyOf(gatewayKey)),
        allowedIps: ["0.0.0.0/0"],
        endpoint: `127.0.0.1:${port}`,
      }],
    }, { tcp: { receiveBuffer: 1 << 16 } });
    const connectTo = ({ port }: { port: number }) =>
      client.connect({ transport: "tcp", hostname: SITE, port, timeoutMs: 30_000 });
    const connect = () => connectTo(target);
    await download(connect, DOWNLOAD);
    const alone = await download(connect, DOWNLOAD);

    const stalled: TunnelConn[] = [];
    while (stalled.length < STALLED) {
      stalled.push(...await Promise.all(Array.from({ length: 200 }, () => connectTo(stalling))));
    }
    await gateway.line(/buffers of connections: \d+ of 128 MB in use/);
    await quiet(() => client.stats().peers[0]!.receivedBytes);
    await assertWithin(gateway.worker);
    // A busy machine may hold any one of them up, and not most of them.
    const times: number[] = [];
    for (let i = 0; i < 7; i++) times.push(await download(connect, DOWNLOAD));
    const median = times.toSorted((a, b) => a - b)[times.length >> 1]!;
    assert.ok(median < 10 * alone + 3_000, `${times} ms, alone ${alone}`);
    await assertWithin(gateway.worker);
    const said = gateway.lines.map((line) => /MB in use (again|\(Max)/.exec(line)?.[1])
      .filter((word) => word !== undefined);
    assert.deepEqual(said, said.map((_, i) => i % 2 === 0 ? "(Max" : "again"), "once each");
  },
);
