/** What strangers, and clients that mean no good, cost a hub; and that others are unharmed. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { type CarrierEvents, Farewell, SILENT_MS } from "../../../../../proxy/bind/stream/mod.ts";
import type { StreamTimers } from "../../../../../proxy/bind/stream/timers.ts";
import { TlsCarrier } from "../../../../../proxy/bind/stream/tls/carrier.ts";
import { connectTcp } from "../../../../../proxy/bind/stream/tls/client.ts";
import { PROTOCOL, secure } from "../../../../../proxy/bind/stream/tls/mod.ts";
import { alone } from "../../../../alone.ts";
import { captureLog } from "../../../log/capture.ts";
import { MadeAuthority } from "../../certificates/made.ts";
import { programTest } from "../../../../with_program.ts";
import { Lab, until } from "./lab.ts";
import { tries } from "../../../../tries.ts";

const never = new AbortController().signal;
const NOTHING: CarrierEvents = { chunk() {}, writable() {}, closed() {} };
const MEGABYTE = 1 << 20;

/** Somebody honest comes, and is answered, if need be at another try. */
async function isServed(lab: Lab): Promise<void> {
  const { side, endpoint } = await lab.client();
  const ask = () => {
    side.send(endpoint, new Uint8Array(148));
    for (const { from } of lab.hub.heard.splice(0)) lab.hub.send(from, new Uint8Array(92));
  };
  const again = setInterval(ask, 50);
  ask();
  // A try that gave way to the crowd is followed by the next within a minute; on a full machine, several.
  await side.next(900_000);
  clearInterval(again);
  endpoint.close();
}

/** A connection of TCP, from an address of this host. */
async function connection(lab: Lab, localAddress = "127.0.0.1"): Promise<net.Socket> {
  const socket = net.connect({ host: "127.0.0.1", port: lab.listener.port, localAddress });
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** The first message of a client of TLS, as it goes over the wire. */
async function clientHello(lab: Lab): Promise<Uint8Array> {
  const { certPath, keyPath } = await lab.files();
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const coming = once(server, "connection");
  const socket = await connectTcp("127.0.0.1", port, never);
  const caPath = `${lab.folder}/ca.pem`;
  const options = { certPath, keyPath, caPath, host: "localhost", pins: [], protocol: PROTOCOL };
  secure(socket, options, never).catch(() => {});
  const [accepted] = await coming as [net.Socket];
  const [hello] = await once(accepted, "data") as [Uint8Array];
  accepted.destroy();
  server.close();
  return Uint8Array.from(hello);
}

/** One who is let in, and then does as the test likes. */
async function insider(lab: Lab): Promise<TlsCarrier> {
  const { certPath, keyPath } = await lab.files();
  const socket = await connectTcp("127.0.0.1", lab.listener.port, never);
  const caPath = `${lab.folder}/ca.pem`;
  const options = { certPath, keyPath, caPath, host: "localhost", pins: [], protocol: PROTOCOL };
  return new TlsCarrier(await secure(socket, options, never));
}

/**
 * Twenty times as fast, and no more than 200 ms at once: what comes while this process has to wait is heard
 * in time.
 */
class FastTimers implements StreamTimers, Disposable {
  #now = 0;
  #last = performance.now();
  readonly #waiting = new Set<{ readonly at: number; readonly run: () => void }>();
  readonly #timer = setInterval(() => this.#turn(), 5);

  now(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): () => void {
    const entry = { at: this.#now + delayMs, run };
    this.#waiting.add(entry);
    return () => this.#waiting.delete(entry);
  }

  #turn(): void {
    const now = performance.now();
    this.#now += Math.min(10, now - this.#last) * 20;
    this.#last = now;
    for (const entry of [...this.#waiting].sort((a, b) => a.at - b.at)) {
      if (entry.at > this.#now || !this.#waiting.delete(entry)) continue;
      entry.run();
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

programTest(
  "openssl",
  "openssl s_client is refused without a certificate, and hears a heartbeat with a good one",
  async () => {
    using log = captureLog();
    await using lab = await Lab.start();
    const { certPath, keyPath } = await lab.files();
    const client = async (...args: string[]) => {
      const connect = ["-connect", `127.0.0.1:${lab.listener.port}`, "-CAfile"];
      const child = new Deno.Command("openssl", {
        args: ["s_client", ...connect, `${lab.folder}/ca.pem`, "-quiet", ...args],
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = child.stdout.getReader();
      const { value } = await reader.read();
      await child.stdin.close().catch(() => {}); // it ends with its input
      await reader.cancel();
      await child.status;
      return [...value ?? []];
    };
    const alpn = ["-alpn", PROTOCOL];
    assert.deepEqual(await client(...alpn), [0, 1, 10]);
    assert.deepEqual(await client(...alpn, "-cert", certPath, "-key", keyPath), [0, 0]);
    assert.deepEqual(await client("-cert", certPath, "-key", keyPath), [0, 1, 18]);
    assert.deepEqual(await client(...alpn, "-tls1_2", "-cert", certPath, "-key", keyPath), []);
    const reasons = log.lines.map((line) => /is refused: (.*)/.exec(line)?.[1]?.slice(0, 30));
    assert.deepEqual(reasons.filter(Boolean), [
      "it has shown no certificate",
      "it does not speak wirestack/1",
      "the TLS handshake failed: peer",
    ]);
  },
);

programTest(
  "openssl",
  "openssl s_client hears what is wrong with each certificate, and so does the log",
  async () => {
    using log = captureLog();
    // The first that the authority signs is the hub's, the next is revoked.
    await using lab = await Lab.start({ revoked: ["41"], allowed: ["laptop"] });
    const client = async (files: { certPath: string; keyPath: string }, ...args: string[]) => {
      const child = new Deno.Command("openssl", {
        args: [
          ...["s_client", "-connect", `127.0.0.1:${lab.listener.port}`],
          ...["-CAfile", `${lab.folder}/ca.pem`, "-quiet"],
          ...["-cert", files.certPath, "-key", files.keyPath, ...args],
        ],
        stdin: "piped", // it ends with the connection, not before
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const heard = await new Response(child.stdout).bytes();
      await child.stdin.close().catch(() => {});
      await child.status;
      return [...heard];
    };
    const alpn = ["-alpn", PROTOCOL];
    const cases = [
      [{}, Farewell.Revoked, /laptop, has been revoked$/],
      [
        { notAfter: new Date("2026-01-02T00:00:00Z") },
        Farewell.Expired,
        /laptop, has expired on 2026-01-02$/,
      ],
      [
        { notBefore: new Date(Date.now() + 5 * 86_400_000) },
        Farewell.NotYetValid,
        /laptop, is not valid before 20/,
      ],
      [{ usage: "serverAuth" }, Farewell.OtherPurpose, /laptop, is not one for clients$/],
      [{ name: "tablet" }, Farewell.NotAllowed, /tablet, is not among AllowedClients$/],
    ] as const;
    for (const [options, farewell, said] of cases) {
      const from = log.lines.length;
      assert.deepEqual(await client(await lab.files(options), ...alpn), [0, 1, farewell]);
      const lines = log.lines.slice(from).filter((line) => /is refused: its cert/.test(line));
      assert.equal(lines.length, 1);
      assert.match(lines[0]!.trimEnd(), said);
    }
    const theirs = await lab.files({}, await MadeAuthority.make("Theirs"));
    assert.deepEqual(await client(theirs, ...alpn), [0, 1, Farewell.OtherAuthority]);
    assert.ok(log.lines.some((line) => /is of another authority, "Theirs"/.test(line)));
  },
);

Deno.test("nothing that comes in place of a handshake does more than end its connection", async () => {
  using _log = captureLog();
  await using lab = await Lab.start({ limits: { pendingPerAddress: 1_000 } });
  const hello = await clientHello(lab);
  let seed = 7;
  const random = (below: number) => (seed = Math.imul(seed, 1103515245) + 12345 >>> 1) % below;
  const over: Promise<unknown>[] = [];
  for (let i = 0; i < 300; i++) {
    const bytes = hello.slice(0, i % 3 === 0 ? 1 + random(hello.length) : hello.length);
    // The first byte stays, or nothing of it gets to TLS.
    for (let n = random(4); n > 0; n--) bytes[1 + random(bytes.length - 1)] = random(256);
    const socket = await connection(lab);
    over.push(new Promise((resolve) => socket.once("close", resolve)));
    socket.write(bytes);
    if (i % 2 === 0) socket.write(crypto.getRandomValues(new Uint8Array(random(2_000))));
    socket.end();
    socket.resume();
  }
  await Promise.all(over);
  await isServed(lab);
  await until(() => lab.listener.server.pending === 0);
});

Deno.test("a handshake that comes a byte at a time ends when its time is over", () =>
  tries(5, async () => {
    using log = captureLog();
    await using lab = await Lab.start({ limits: { handshakeMs: 500 } });
    const hello = await clientHello(lab);
    const socket = await connection(lab);
    let sent = 0;
    const timer = setInterval(() => socket.write(hello.subarray(sent, ++sent)), 20);
    // It may be while the other is served, and after an error: a byte was written to who had ended.
    const closed = new Promise((resolve) => socket.once("close", resolve));
    await isServed(lab);
    await closed;
    clearInterval(timer);
    assert.ok(sent >= 5 && sent < hello.length, `${sent} bytes were taken`);
    assert.ok(log.lines.some((line) => line.includes("is refused: no handshake within 0.5 s")));
    assert.equal(lab.listener.server.pending, 0);
  }));

Deno.test("10,000 connections that never finish a handshake cost what some hundreds do, and others are served", (t) =>
  alone(t, async () => {
    using _log = captureLog();
    await using lab = await Lab.start({ limits: { handshakeMs: 120_000 } });
    const hello = await clientHello(lab);
    const { server } = lab.listener;
    await isServed(lab); // what is made once is made
    const before = Deno.memoryUsage();
    const program = new URL("./flood_main.ts", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-net",
        program,
        `${lab.listener.port}`,
        "10000",
        hello.toHex(),
      ],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    const opened = reader.read();
    let isOpen = false;
    opened.then(() => isOpen = true);
    let most = 0;
    let served = 0;
    do {
      await isServed(lab);
      served++;
      most = Math.max(most, server.pending);
    } while (!isOpen);
    await until(() => server.counters.connections >= 10_000);
    const grown = (Deno.memoryUsage().rss - before.rss) / MEGABYTE;
    assert.ok(most <= 3 * 512 && server.pending >= 400, `${most} and ${server.pending} pending`);
    assert.ok(server.evicted >= 10_000 - 3 * 512, `${server.evicted} evicted`);
    assert.ok(served > 0);
    assert.ok(grown < 300, `${grown} MB, ${served} served`);
    await child.stdin.close();
    await reader.cancel();
    await child.status;
    await until(() => server.pending === 0);
  }));

Deno.test("handshakes begin at a rate, and who comes from an address of its own is soon at its turn", () =>
  tries(5, async () => {
    using _log = captureLog();
    const limits = {
      pendingPerAddress: 400,
      startsPerSecond: 5,
      startsAtOnce: 5,
      handshakeMs: 120_000,
    };
    await using lab = await Lab.start({ limits });
    const hello = await clientHello(lab);
    const sockets: net.Socket[] = [];
    let answered = 0;
    const start = performance.now();
    for (let i = 0; i < 300; i++) {
      const socket = await connection(lab, "127.0.0.9");
      socket.once("data", () => answered++);
      socket.write(hello);
      sockets.push(socket);
    }
    await isServed(lab);
    const seconds = (performance.now() - start) / 1000;
    assert.ok(answered < 5 + 5 * seconds + 1, `${answered} in ${seconds} s`);
    // All of them would take a minute.
    assert.ok(answered < 200, `${answered} before the one from elsewhere`);
    for (const socket of sockets) socket.destroy();
    await until(() => lab.listener.server.pending === 0);
  }));

Deno.test("one address has no more connections waiting than its share", async () => {
  using _log = captureLog();
  await using lab = await Lab.start({ limits: { handshakeMs: 60_000 } });
  const sockets = [];
  for (let i = 0; i < 100; i++) sockets.push(await connection(lab));
  await until(() => lab.listener.server.counters.connections === 100);
  assert.equal(lab.listener.server.pending, 64);
  for (const socket of sockets) socket.destroy();
  await until(() => lab.listener.server.pending === 0);
});

Deno.test("who is let in and reads nothing costs little memory, and is given up in a while", (t) =>
  alone(t, async () => {
    using timers = new FastTimers();
    await using lab = await Lab.start({ bind: { timers } });
    const carrier = await insider(lab);
    carrier.start(NOTHING);
    carrier.setReading(false);
    await until(() => lab.hub.bind.carriers === 1);
    const [accepted] = lab.hub.bind.accepted;
    const { counters } = lab.hub.bind;
    const before = Deno.memoryUsage();
    const datagram = new Uint8Array(1_400);
    // It says that it is there all the while.
    const beat = setInterval(() => carrier.write(new Uint8Array(2), () => {}), 50);
    const start = timers.now();
    let most = 0;
    while (accepted!.isConnected) {
      for (let i = 0; i < 200; i++) lab.hub.send(accepted!, datagram);
      most = Math.max(most, accepted!.buffered);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    clearInterval(beat);
    const after = Deno.memoryUsage();
    assert.ok(most < 400 << 10, `${most} bytes wait`);
    assert.equal(counters.stalled, 1);
    assert.ok(counters.droppedStale + counters.droppedFull > 1_000);
    assert.ok(timers.now() - start >= SILENT_MS);
    const grown = (after.rss - before.rss) / MEGABYTE;
    assert.ok(grown < 60, `${grown} MB`);
    await isServed(lab);
    carrier.close();
  }));

Deno.test("who sends more than the hub can deal with is not read on, and nothing is lost", async () => {
  await using lab = await Lab.start();
  const carrier = await insider(lab);
  let isWritable = true;
  carrier.start({ ...NOTHING, writable: () => isWritable = true });
  await until(() => lab.hub.bind.carriers === 1);
  lab.hub.isBusy = true;
  const frames = new Uint8Array(16 * 1_002);
  for (let i = 0; i < 16; i++) frames.set([1_000 >>> 8, 1_000 & 255], i * 1_002);
  let sent = 0;
  let idle = 0;
  while (idle < 20 && sent < 64 * MEGABYTE) {
    if (isWritable) {
      isWritable = carrier.write(frames, () => {});
      sent += frames.length;
      idle = 0;
    } else idle++;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  // What the kernel's buffers hold, and no more.
  assert.ok(sent < 16 * MEGABYTE, `${sent} bytes were taken`);
  lab.hub.isBusy = false;
  lab.hub.drain();
  await until(() => lab.hub.bind.counters.receivedBytes === sent / 1_002 * 1_000);
  carrier.close();
});
