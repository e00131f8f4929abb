/**
 * What a program on the client's host does that curl cannot:
 *
 *   deno run … client.ts COMMAND ARGS…
 *
 * Prints one JSON object; status 0 also when the network said no.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { createConnection } from "node:net";

const [command, hostname, portText, ...args] = Deno.args;
const target = { hostname: hostname!, port: Number(portText) };
const CHUNK = 65536;
/** What is lost does not come; what is late on a busy machine does. */
const ANSWER_MS = 30_000;

const commands: Record<string, () => Promise<unknown>> = {
  connect,
  digest,
  duplex,
  reset,
  "read-reset": readReset,
  "read-late": readLate,
  many,
  swamp,
  hold,
  udp,
  "udp-ask": udpAsk,
};
console.log(JSON.stringify(await commands[command!]!()));

/** `NETWORK COUNT`: that many dials into a /24 where nobody answers, then five here, 2 s each. */
async function swamp(): Promise<unknown> {
  const [network, count] = [args[0]!, Number(args[1])];
  const giveUp = new AbortController();
  const lost = Array.from({ length: count }, (_, i) =>
    Deno.connect({
      hostname: network.replace(/0$/, `${1 + i % 250}`),
      port: 80,
      signal: giveUp.signal,
    }).then((conn) => conn.close(), () => {}));
  await new Promise((resolve) => setTimeout(resolve, 1000)); // until the SYNs have left
  const ms: number[] = [];
  let connected = 0;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    const signal = AbortSignal.timeout(2000);
    const conn = await Deno.connect({ ...target, signal }).catch(() => undefined);
    if (conn !== undefined) connected++;
    conn?.close();
    ms.push(performance.now() - start);
  }
  giveUp.abort();
  await Promise.all(lost);
  return { connected, ms };
}

/** `[LIMIT-MS]`: how a connection attempt ends, and after how long. */
async function connect(): Promise<unknown> {
  const start = performance.now();
  let error: string | null = null;
  try {
    const signal = args[0] === undefined ? undefined : AbortSignal.timeout(Number(args[0]));
    (await Deno.connect({ ...target, signal })).close();
  } catch (thrown) {
    const { code, name } = thrown as { code?: string; name: string };
    error = typeof code === "string" ? code : name;
  }
  return { error, ms: performance.now() - start };
}

/** Uploads a file, half-closes, reads the answer. */
async function digest(): Promise<unknown> {
  using conn = await Deno.connect(target);
  await send(conn, await Deno.readFile(args[0]!));
  await conn.closeWrite();
  return { answer: new TextDecoder().decode(await receive(conn)) };
}

/** Uploads and downloads at once on one connection. */
async function duplex(): Promise<unknown> {
  using conn = await Deno.connect(target);
  const file = await Deno.readFile(args[0]!);
  const upload = async () => {
    await send(conn, file);
    await conn.closeWrite();
  };
  const [received] = await Promise.all([receive(conn), upload()]);
  const body = received.subarray(0, file.length);
  return {
    downloaded: createHash("sha256").update(body).digest("hex"),
    uploaded: received.subarray(file.length).toHex(),
  };
}

/** Resets a connection that is up and has carried data both ways. */
async function reset(): Promise<unknown> {
  const socket = createConnection(target.port, target.hostname);
  await new Promise((resolve, reject) => {
    socket.once("data", resolve);
    socket.once("error", reject);
  });
  const seen = new Promise((resolve) => socket.once("data", resolve));
  socket.write("payload");
  await seen; // the RST may overtake what is on its way
  socket.resetAndDestroy();
  return {};
}

/** How the other side ends a connection on which something was sent. */
async function readReset(): Promise<unknown> {
  using conn = await Deno.connect(target);
  await conn.write(new Uint8Array(1));
  try {
    return { end: await conn.read(new Uint8Array(1)) === null ? "end of file" : "data" };
  } catch (error) {
    return { end: (error as { code?: string }).code ?? String(error) };
  }
}

/** `WAIT-MS`: reads nothing for so long, then everything. */
async function readLate(): Promise<unknown> {
  using conn = await Deno.connect(target);
  await new Promise((resolve) => setTimeout(resolve, Number(args[0])));
  const received = await receive(conn);
  return { sha256: createHash("sha256").update(received).digest("hex") };
}

/** `COUNT BYTES`: all connected first, then each has BYTES echoed, then all are closed. */
async function many(): Promise<unknown> {
  const [count, size] = args.map(Number) as [number, number];
  const failures: Record<string, number> = {};
  const failed = (error: unknown) => {
    const reason = String(error);
    failures[reason] = (failures[reason] ?? 0) + 1;
  };
  const start = performance.now();
  const settled = await Promise.allSettled(
    Array.from({ length: count }, () => Deno.connect(target)),
  );
  const conns = settled.flatMap((result) => {
    if (result.status === "fulfilled") return [result.value];
    failed(result.reason);
    return [];
  });
  let completed = 0;
  await Promise.all(conns.map(async (conn, index) => {
    const sent = new Uint8Array(size).map((_, offset) => (offset * 31 + index) & 0xff);
    try {
      const upload = async () => {
        await send(conn, sent);
        await conn.closeWrite();
      };
      const [received] = await Promise.all([receive(conn), upload()]);
      if (Buffer.compare(sent, received) !== 0) throw new Error("other bytes came back");
      completed++;
    } catch (error) {
      failed(error);
    } finally {
      conn.close();
    }
  }));
  return { connected: conns.length, completed, failures, ms: performance.now() - start };
}

/**
 * One connection that has a line echoed every 50 ms until standard input ends; prints `echo N` for
 * each. An error of the connection is an error of the process.
 */
async function hold(): Promise<unknown> {
  using conn = await Deno.connect(target);
  let done = false;
  const input = (async () => {
    for await (const _ of Deno.stdin.readable);
    done = true;
  })();
  const buffer = new Uint8Array(64);
  let echoes = 0;
  let [longest, longestMs] = [0, 0];
  while (!done) {
    const start = performance.now();
    const line = new TextEncoder().encode(`line ${echoes}`.padEnd(64));
    await send(conn, line);
    for (let got = 0; got < line.length;) {
      const count = await conn.read(buffer.subarray(got));
      if (count === null) throw new Error(`end of file after ${echoes} echoes`);
      got += count;
    }
    if (Buffer.compare(buffer, line) !== 0) throw new Error("other bytes came back");
    const tookMs = performance.now() - start;
    console.log(`echo ${++echoes}`);
    if (tookMs > longestMs) [longest, longestMs] = [echoes, tookMs];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await input;
  return { echoes, longest, longestMs };
}

/** `SIZE…`: datagrams of these sizes, each echoed byte for byte. */
async function udp(): Promise<unknown> {
  using socket = openDatagram();
  const failures: string[] = [];
  for (const size of args.map(Number)) {
    const sent = new Uint8Array(size).map((_, offset) => (offset * 7 + size) & 0xff);
    await socket.send(sent, { transport: "udp", ...target });
    const received = await socket.receive();
    if (received === undefined) failures.push(`${size}: no answer`);
    else if (Buffer.compare(sent, received.data) !== 0) failures.push(`${size}: other bytes`);
  }
  return { failures };
}

/**
 * `SOURCE-PORT TEXT COUNT WAIT-MS`: asks the target from a given port (0: any) and lists COUNT answers, and
 * everything that arrives within WAIT-MS after them.
 */
async function udpAsk(): Promise<unknown> {
  const [sourcePort, text, count, waitMs] = args as [string, string, string, string];
  using socket = openDatagram(Number(sourcePort));
  await socket.send(new TextEncoder().encode(text), { transport: "udp", ...target });
  let deadline = performance.now() + (count === "0" ? Number(waitMs) : ANSWER_MS);
  const answers: { text: string; from: string }[] = [];
  while (true) {
    const received = await socket.receive(deadline - performance.now());
    if (received === undefined) return { answers };
    const { hostname, port } = received.from;
    answers.push({ text: new TextDecoder().decode(received.data), from: `${hostname} ${port}` });
    if (answers.length === Number(count)) deadline = performance.now() + Number(waitMs);
  }
}

function openDatagram(port = 0) {
  const socket = Deno.listenDatagram({
    hostname: target.hostname.includes(":") ? "::" : "0.0.0.0",
    port,
    transport: "udp",
  });
  return {
    send: (data: Uint8Array, to: Deno.NetAddr) => socket.send(data, to),
    /** The next datagram, or undefined after `waitMs`; then the socket is of no more use. */
    async receive(
      waitMs = ANSWER_MS,
    ): Promise<{ data: Uint8Array; from: Deno.NetAddr } | undefined> {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const timeout = new Promise<undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), Math.max(0, waitMs));
      });
      const received = socket.receive(new Uint8Array(65536))
        .then(([data, from]) => ({ data, from: from as Deno.NetAddr }), () => undefined);
      const first = await Promise.race([received, timeout]);
      clearTimeout(timer);
      return first;
    },
    [Symbol.dispose]: () => socket.close(),
  };
}

async function send(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) {
    sent += await conn.write(data.subarray(sent, sent + CHUNK));
  }
}

/** Everything up to the end of file. */
async function receive(conn: Deno.Conn): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  while (true) {
    const chunk = new Uint8Array(CHUNK);
    const count = await conn.read(chunk);
    if (count === null) return Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, count));
  }
}
