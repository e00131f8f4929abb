import assert from "node:assert/strict";
import { generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { startWirestack } from "../start.ts";
import { pattern, readAll, SITE, startPair, writeAll } from "../pair.ts";

/** What a server of one connection got until its end. */
interface Served extends Disposable {
  readonly port: number;
  readonly received: Promise<Uint8Array>;
}

type Serve = (conn: Deno.Conn) => Promise<Uint8Array>;

function serve(listener: Deno.Listener<Deno.Conn, Deno.NetAddr>, answer: Serve): Served {
  const received = listener.accept().then(answer);
  received.catch(() => {}); // the test looks later
  return { port: listener.addr.port, received, [Symbol.dispose]: () => listener.close() };
}

/** Reads to the end, at once. */
async function take(conn: Deno.Conn): Promise<Uint8Array> {
  using _ = conn;
  return await readAll(conn);
}

/** As servers of mail do: its own line first, which nobody reads. */
async function greet(conn: Deno.Conn): Promise<Uint8Array> {
  await conn.write(pattern(1000, 7));
  return await take(conn);
}

const SIZES = [10, 1_000, 65_536, 1 << 20];

for (const [name, answer] of Object.entries({ take, greet })) {
  Deno.test(`what was written when a scope ends arrives, at a server that does: ${name}`, async () => {
    for (const size of SIZES) {
      for (const isHalfClosed of [false, true]) {
        await using pair = await startPair();
        using inside = serve(pair.gateway.listen({ port: 0 }), answer);
        using behind = serve(Deno.listen({ hostname: "127.0.0.1", port: 0 }), answer);
        {
          await using net = pair.client;
          using a = await net.connect({ hostname: "10.9.0.1", port: inside.port });
          using b = await net.connect({ hostname: SITE, port: behind.port });
          for (const conn of [a, b]) {
            await writeAll(conn, pattern(size));
            if (isHalfClosed) await conn.closeWrite();
          }
        }
        assert.deepEqual(await inside.received, pattern(size), `${size} to the gateway`);
        assert.deepEqual(await behind.received, pattern(size), `${size} behind it`);
      }
    }
  });
}

Deno.test("connections that nobody closed are closed, not reset, with the gateway", async () => {
  await using pair = await startPair({ proxy: null });
  using server = serve(pair.gateway.listen({ port: 0 }), take);
  const conn = await pair.client.connect({ hostname: "10.9.0.1", port: server.port });
  await writeAll(conn, pattern(65_536));
  assert.deepEqual(await pair.client.close(), { unfinished: 0 });
  assert.deepEqual(await server.received, pattern(65_536));
  await assert.rejects(conn.read(new Uint8Array(1)), Deno.errors.BadResource);
});

Deno.test("a datagram that waits for the handshake leaves before the gateway does", async () => {
  await using pair = await startPair({ proxy: null });
  using socket = pair.gateway.listenDatagram({ port: 5000 });
  {
    await using net = pair.client;
    using sender = net.listenDatagram();
    await sender.send(pattern(9), { transport: "udp", hostname: "10.9.0.1", port: 5000 });
  }
  assert.deepEqual((await socket.receive())[0], pattern(9));
});

Deno.test("closing gives up after the time it has, and says so", async () => {
  const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
  // A socket that takes datagrams and is no WireGuard.
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const net = await startWirestack({
    interface: { privateKey: ours, address: "10.9.0.2/24" },
    peers: [{
      publicKey: publicKeyOf(theirs),
      allowedIps: "10.9.0.1/32",
      endpoint: `127.0.0.1:${(silent.addr as Deno.NetAddr).port}`,
    }],
  });
  using socket = net.listenDatagram();
  await socket.send(pattern(9), { transport: "udp", hostname: "10.9.0.1", port: 5000 });
  const before = performance.now();
  assert.deepEqual(await net.close({ graceMs: 300 }), { unfinished: 1 });
  assert.ok(performance.now() - before >= 300);
  silent.close();
});

Deno.test("an idle connection through the proxy does not hold up the end", async () => {
  await using pair = await startPair();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.addr.port });
  using target = await accepting;
  await writeAll(conn, pattern(10));
  await target.read(new Uint8Array(10));
  assert.deepEqual(await pair.gateway.close(), { unfinished: 0 });
  await assert.rejects(conn.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
});

Deno.test("aborting the writable closes: what write took arrives, as for Deno.Conn", async () => {
  for (const size of SIZES) {
    await using pair = await startPair({ proxy: null });
    using server = serve(pair.gateway.listen({ port: 0 }), greet);
    const conn = await pair.client.connect({ hostname: "10.9.0.1", port: server.port });
    await writeAll(conn, pattern(size));
    await conn.writable.abort(new Error("enough"));
    await assert.rejects(conn.read(new Uint8Array(1)), Deno.errors.BadResource);
    assert.deepEqual(await server.received, pattern(size));
  }
});

Deno.test("reset breaks off: the other side sees it", async () => {
  await using pair = await startPair({ proxy: null });
  using server = serve(pair.gateway.listen({ port: 0 }), take);
  const conn = await pair.client.connect({ hostname: "10.9.0.1", port: server.port });
  conn.reset();
  await assert.rejects(server.received, Deno.errors.ConnectionReset);
});

Deno.test("what arrived before a reset is read, as from a socket of Linux; writing fails at once", async () => {
  await using pair = await startPair({ proxy: null });
  using listener = pair.gateway.listen({ port: 0 });
  const conn = await pair.client.connect({ hostname: "10.9.0.1", port: listener.addr.port });
  using accepted = await listener.accept();
  await writeAll(conn, pattern(50_000));
  const first = new Uint8Array(1);
  assert.equal(await accepted.read(first), 1);
  conn.reset();
  await assert.rejects(async () => {
    for (;;) await accepted.write(new Uint8Array(1)); // until the reset is there
  }, Deno.errors.ConnectionReset);
  const rest: number[] = [];
  const into = new Uint8Array(16_384);
  await assert.rejects(async () => {
    for (let length; (length = await accepted.read(into)) !== null;) {
      rest.push(...into.subarray(0, length));
    }
  }, Deno.errors.ConnectionReset);
  assert.deepEqual(Uint8Array.of(...first, ...rest), pattern(50_000).subarray(0, 1 + rest.length));
  assert.ok(rest.length > 0, "what had arrived");
});
