import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import net from "node:net";
import fc from "fast-check";
import {
  connectThrough,
  type HttpProxy,
  isExempt,
  parseProxy,
} from "../../../../proxy/bind/stream/http_proxy.ts";

/** What a proxy does with the bytes of a request's head. */
type Behaviour = (socket: net.Socket, head: string) => void;

/** Asks a proxy that behaves so for a way to hub.example:8443. @returns what went wrong, if so. */
async function ask(
  behave: Behaviour,
  { authorization, limitMs, signal }: {
    authorization?: string;
    limitMs?: number;
    signal?: AbortSignal;
  } = {},
): Promise<{ problem: string | undefined; port: number; head: string; socket: net.Socket }> {
  let head = "";
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    const onData = (bytes: Uint8Array) => {
      head += Buffer.from(bytes).toString("latin1");
      if (!head.endsWith("\r\n\r\n")) return;
      socket.off("data", onData);
      behave(socket, head);
    };
    socket.on("data", onData);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.on("error", () => {});
  const proxy: HttpProxy = { host: "127.0.0.1", port, authorization };
  let problem: string | undefined;
  try {
    await connectThrough(socket, proxy, "hub.example", 8443, { limitMs, signal });
  } catch (error) {
    problem = (error as Error).message;
    socket.destroy();
  }
  if (problem !== undefined) { for (const socket of sockets) socket.destroy(); }
  server.close();
  return { problem, port, head, socket };
}

const answer = (text: string): Behaviour => (socket) => void socket.write(text, "latin1");

Deno.test("a proxy that agrees leaves a way to the host, with what is said on it untouched", async () => {
  const { problem, head, socket } = await ask((socket) => {
    socket.write("HTTP/1.1 200 Connection established\r\nVia: somebody\r\n\r\n");
    socket.on("data", (bytes) => void socket.write(bytes));
  }, { authorization: "Basic dTpw" });
  assert.equal(problem, undefined);
  assert.equal(
    head,
    "CONNECT hub.example:8443 HTTP/1.1\r\nHost: hub.example:8443\r\n" +
      "Proxy-Authorization: Basic dTpw\r\n\r\n",
  );
  const echoed = once(socket, "data");
  socket.resume();
  socket.write("hello");
  assert.equal(`${(await echoed)[0]}`, "hello");
  socket.destroy();
});

Deno.test("an answer that comes in pieces is put together", async () => {
  const { problem, socket } = await ask(async (socket) => {
    for (const part of ["HT", "TP/1.0 2", "00\r\nA: b\r", "\n\r", "\n"]) {
      socket.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
  assert.equal(problem, undefined);
  socket.destroy();
});

for (
  const [what, behave, expected, options] of [
    [
      "wants credentials",
      answer("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
      "wants a user and a password, expected them in HTTPS_PROXY",
      {},
    ],
    [
      "refuses credentials",
      answer("HTTP/1.1 407 Nope\r\nContent-Length: 3\r\n\r\nabc"),
      "refuses the user and password of HTTPS_PROXY",
      { authorization: "Basic c2VjcmV0" },
    ],
    [
      "refuses the host",
      answer("HTTP/1.1 403 For\x1b[31mbidden\r\n\r\n"),
      "does not connect to hub.example:8443: 403 For?[31mbidden",
      {},
    ],
    [
      "has no way",
      answer("HTTP/1.0 502\r\n\r\n"),
      "does not connect to hub.example:8443: 502",
      {},
    ],
    ["speaks SSH", answer("SSH-2.0-OpenSSH_9\r\n"), "does not answer as an HTTP proxy does", {}],
    [
      "sends a head without an end",
      answer(`HTTP/1.1 200 OK\r\nX: ${"y".repeat(20_000)}`),
      "does not answer as an HTTP proxy does",
      {},
    ],
    [
      "goes on after its answer",
      answer("HTTP/1.1 200 OK\r\n\r\nand more"),
      "sends more than its answer",
      {},
    ],
    [
      "closes",
      (socket: net.Socket) => void socket.end(),
      "has closed the connection without an answer",
      {},
    ],
    ["is slow", answer("HTTP/1.1 20"), "has not answered within 1 s", { limitMs: 100 }],
  ] as const
) {
  Deno.test(`a proxy that ${what} gets one clear line`, async () => {
    const { problem, port } = await ask(behave, options);
    assert.equal(problem, `the proxy 127.0.0.1:${port} ${expected}`);
    assert.doesNotMatch(problem!, /c2VjcmV0/);
  });
}

Deno.test("an attempt that is called off ends at once", async () => {
  const controller = new AbortController();
  const { problem } = await ask(() => controller.abort(), { signal: controller.signal });
  assert.equal(problem, "called off");
});

Deno.test("whatever a proxy answers is a way or one printable line", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ unit: "binary", maxLength: 60 }),
        fc.string({ unit: "binary", maxLength: 30 }).map((text) => `HTTP/1.1 ${text}\r\n\r\n`),
        fc.integer({ min: 100, max: 999 }).map((code) => `HTTP/1.1 ${code} \x00\r\n\r\n`),
      ),
      async (text) => {
        const { problem, socket } = await ask((socket) => void socket.end(text), { limitMs: 500 });
        socket.destroy();
        if (problem === undefined) assert.match(text, /^HTTP\/1\.[01] 2\d\d/);
        else assert.match(problem, /^the proxy 127\.0\.0\.1:\d+ [ -~]+$/);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("HTTPS_PROXY is read as everywhere", () => {
  const plain = { authorization: undefined };
  assert.deepEqual(parseProxy("http://proxy:3128"), { host: "proxy", port: 3128, ...plain });
  assert.deepEqual(parseProxy(" proxy:3128/ "), { host: "proxy", port: 3128, ...plain });
  assert.deepEqual(parseProxy("http://[::1]:8080"), { host: "::1", port: 8080, ...plain });
  assert.deepEqual(parseProxy("HTTP://proxy"), { host: "proxy", port: 80, ...plain });
  assert.deepEqual(parseProxy("http://me:p%40ss@proxy:1"), {
    ...{ host: "proxy", port: 1 },
    authorization: `Basic ${btoa("me:p@ss")}`,
  });
});

Deno.test("a wrong HTTPS_PROXY is named without what it says", () => {
  for (
    const [value, message] of [
      ["socks5://me:secret@proxy", "HTTPS_PROXY has the scheme socks5, expected http://HOST:PORT"],
      ["https://me:secret@proxy", "HTTPS_PROXY has the scheme https, expected http://HOST:PORT"],
      ["http://me:secret@", "HTTPS_PROXY is no URL, expected http://HOST:PORT"],
      ["http://me:secret@proxy:99999", "HTTPS_PROXY is no URL, expected http://HOST:PORT"],
      ["http://me:secret@proxy:0", "HTTPS_PROXY is no URL, expected http://HOST:PORT"],
      [
        "http://me:secret%@proxy",
        "HTTPS_PROXY has a user or password with a bare %, expected it as %25",
      ],
    ] as const
  ) assert.throws(() => parseProxy(value), { message }, value);
});

Deno.test("NO_PROXY takes names with what is below them, addresses, prefixes and ports", () => {
  for (
    const [value, host, expected] of [
      ["*", "hub.example", true],
      ["", "hub.example", false],
      ["example", "hub.example", true],
      [".example", "hub.example", true],
      ["*.example", "HUB.Example.", true],
      ["hub.example", "hub.example", true],
      ["ub.example", "hub.example", false],
      ["other, hub.example:8443", "hub.example", true],
      ["hub.example:443", "hub.example", false],
      ["10.0.0.0/8", "10.1.2.3", true],
      ["10.0.0.0/8", "11.1.2.3", false],
      ["10.1.2.3", "10.1.2.3", true],
      ["10.1.2.3:8443", "10.1.2.3", true],
      ["fd00::/8", "fd00::1", true],
      ["[fd00::1]:8443", "fd00::1", true],
      ["[fd00::1]", "fd00::1", true],
      ["fd00::1", "fd00::2", false],
      ["10.0.0.0/8", "hub.example", false],
    ] as const
  ) assert.equal(isExempt(value, host, 8443), expected, `${value} ${host}`);
});
