import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import net from "node:net";
import {
  Farewell,
  farewellFrame,
  farewellText,
} from "../../../../../proxy/bind/stream/farewell.ts";
import { connectProxy, listening } from "../listening.ts";
import { until } from "../tls/lab.ts";
import { dialerOf, Hub, pair, Told } from "./lab.ts";
import { ownTcpPort } from "../../../own_port.ts";

const never = new AbortController().signal;

/** Bytes that can be told from their neighbours. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

Deno.test("bytes go both ways, in order, in chunks of any size", async () => {
  await using hub = await Hub.start();
  for (const [from, to] of [await pair(hub), (await pair(hub)).reverse()]) {
    const told = new Told(to!);
    new Told(from!);
    const sent: Uint8Array[] = [];
    let done = 0;
    for (const size of [1, 2, 127, 128, 1452, 16_383, 16_384, 65_537, 3]) {
      const bytes = pattern(size);
      sent.push(bytes);
      from!.write(bytes, () => done++);
    }
    const all = Buffer.concat(sent);
    await told.until(({ bytes, isClosed }) => bytes >= all.length || isClosed);
    assert.deepEqual(Buffer.concat(told.chunks), all);
    assert.equal(done, sent.length);
    assert.equal(from!.buffered, 0);
  }
});

/** Time, and so many turns of the event loop. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 5));
}

for (const side of ["client", "server"]) {
  Deno.test(`a ${side} whose other side does not read says so soon, and goes on when it reads`, async () => {
    await using hub = await Hub.start();
    const both = await pair(hub);
    const [from, to] = side === "client" ? both : both.toReversed();
    const [told, other] = [new Told(from!), new Told(to!)];
    to!.setReading(false);
    const chunk = pattern(16 << 10);
    let written = 0;
    let isStuck = false;
    // Until nothing has left for a while: what is on its way then is all that may be.
    while (!isStuck) {
      const { writables } = told;
      while (from!.write(chunk, () => {})) written += chunk.length;
      written += chunk.length;
      const wait = told.until((told) => told.writables > writables);
      isStuck = await Promise.race([
        wait.then(() => false),
        turns(60).then(() => true),
      ]);
    }
    assert.ok(from!.buffered >= 16 << 10 && from!.buffered <= 144 << 10, `${from!.buffered}`);
    // The system's queues, and not without an end: much less than the window of HTTP/2 and all of them.
    assert.ok(written > 65_535 && written < 10_000_000, `${written}`);
    assert.ok(other.bytes < written, `${other.bytes}`);
    to!.setReading(true);
    await other.until(({ bytes }) => bytes >= written);
    assert.equal(other.bytes, written);
    assert.equal(from!.buffered, 0);
  });
}

Deno.test("closing ends the other side, with the reason where there is one", async () => {
  await using hub = await Hub.start();
  const [, first] = await pair(hub);
  const [client, server] = await pair(hub);
  const told = new Told(client);
  new Told(server);
  let done = 0;
  server.write(pattern(100), () => done++);
  server.close(farewellFrame(Farewell.Full));
  await told.until(({ isClosed }) => isClosed);
  assert.equal(told.error?.message, farewellText(Farewell.Full));
  assert.equal(done, 1);
  const other = new Told(first);
  const third = await pair(hub);
  third[0].close();
  const ended = new Told(third[1]);
  await ended.until(({ isClosed }) => isClosed);
  assert.ok(!other.isClosed, "others are left alone");
});

Deno.test("a carrier whose connection is cut tells both sides", async () => {
  await using hub = await Hub.start();
  const relay = net.createServer((socket) => {
    const onward = net.connect(hub.port, "127.0.0.1");
    socket.pipe(onward).pipe(socket);
    for (const one of [socket, onward]) one.on("error", () => {});
    cut = () => [socket, onward].map((one) => one.destroy());
  }).listen(0, "127.0.0.1");
  let cut = (): unknown => undefined;
  await once(relay, "listening");
  const { port } = relay.address() as net.AddressInfo;
  const told = [new Told(await dialerOf(port).dial(never)), new Told(await hub.carrier())];
  cut();
  for (const one of told) await one.until(({ isClosed }) => isClosed);
  assert.ok(told.every(({ isClosed }) => isClosed));
  await until(() => hub.listener.connections === 0);
  assert.equal(hub.carriers.length, 1);
  relay.close();
});

Deno.test("what cannot be opened is said in one line", async () => {
  using silent = await listening(() => {});
  using closing = await listening((socket) => void socket.destroy());
  for (
    const [options, port, expected] of [
      [{}, ownTcpPort(), /^nobody listens there$/],
      [
        {},
        closing.port,
        /^the connection ended during the TLS handshake$|^the TLS handshake failed/,
      ],
      [{ limitMs: 200 }, silent.port, /^no answer within 1 s$/],
      [{ host: "no.such.name.invalid" }, 1, /^the name is not found$/],
    ] as const
  ) await assert.rejects(dialerOf(port, options).dial(never), { message: expected });
});

Deno.test("an attempt that is called off ends", async () => {
  using silent = await listening(() => {});
  const controller = new AbortController();
  const attempt = dialerOf(silent.port).dial(controller.signal);
  controller.abort();
  await assert.rejects(attempt, { message: "called off" });
});

Deno.test("it goes through an HTTP proxy, and what that says is said", async () => {
  await using hub = await Hub.start();
  using proxy = await connectProxy(hub.port);
  const { told: said, through } = proxy;
  const [client, server] = await pair(hub, through);
  const told = new Told(server);
  client.write(pattern(1000), () => {});
  await told.until(({ bytes }) => bytes === 1000);
  assert.deepEqual(said.asked, [`CONNECT 127.0.0.1:${hub.port} HTTP/1.1`]);
  client.close();
  said.answer = "HTTP/1.1 407 No\r\n\r\n";
  await assert.rejects(hub.dialer(through).dial(never), {
    message: `the proxy 127.0.0.1:${through.port} refuses the user and password of HTTPS_PROXY`,
  });
  // A port of its own: that of a listener just closed may still reset.
  const nobody = { ...through, port: ownTcpPort() };
  await assert.rejects(hub.dialer(nobody).dial(never), {
    message: `the proxy 127.0.0.1:${nobody.port}: nobody listens there`,
  });
});
