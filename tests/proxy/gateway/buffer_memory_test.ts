import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { TunnelConn } from "../../../proxy/tunnel/conn.ts";
import { Process } from "../../e2e/process.ts";
import { SITE } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { tries } from "../../tries.ts";
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
    // A busy machine may hold any one of them up.
    await tries(10, async () => {
      const time = await download(connect, DOWNLOAD);
      assert.ok(time < 10 * alone + 3_000, `${time} ms, alone ${alone}`);
    });
    await assertWithin(gateway.worker);
  },
);
