import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { Defect, tries } from "../../tries.ts";
import { pattern, readAll, SITE, SITE_IPV6, startPair, until, writeAll } from "../pair.ts";

/** A listener on this host's loopback. */
function site(hostname = "127.0.0.1"): Deno.TcpListener & { port: number } {
  const listener = Deno.listen({ hostname, port: 0 });
  return Object.assign(listener, { port: listener.addr.port });
}

/** A target that can send a RST, which Deno's own connections cannot. */
async function resettingSite() {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    accepted: accepted.promise,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

for (
  const [family, hostname, target] of [["IPv4", "127.0.0.1", SITE], ["IPv6", "::1", SITE_IPV6]]
) {
  Deno.test(`bytes reach a target and come back, ${family}`, async () => {
    await using pair = await startPair();
    using listener = site(hostname);
    using conn = await pair.client.connect({ hostname: target!, port: listener.port });
    using served = await listener.accept();
    await writeAll(conn, pattern(100));
    const buffer = new Uint8Array(200);
    assert.equal(await served.read(buffer), 100);
    assert.deepEqual(buffer.subarray(0, 100), pattern(100));
    await writeAll(served, pattern(150, 2));
    assert.equal(await conn.read(buffer), 150);
    assert.deepEqual(buffer.subarray(0, 150), pattern(150, 2));
  });
}

Deno.test("5 MB go each way at the same time, every byte right, and both ends see the end", async () => {
  await using pair = await startPair();
  using listener = site();
  const [up, down] = [pattern(5_000_000, 3), pattern(5_000_000, 4)];
  const serve = async () => {
    using served = await listener.accept();
    const [received] = await Promise.all([
      readAll(served),
      writeAll(served, down).then(() => served.closeWrite()),
    ]);
    return received;
  };
  const serving = serve();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  const [received] = await Promise.all([
    readAll(conn),
    writeAll(conn, up).then(() => conn.closeWrite()),
  ]);
  assert.ok(equal(received, down));
  assert.ok(equal(await serving, up));
});

Deno.test("a half-close is passed on: the target answers after end of file", async () => {
  await using pair = await startPair();
  using listener = site();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  using served = await listener.accept();
  await writeAll(conn, pattern(3000));
  await conn.closeWrite();
  assert.deepEqual(await readAll(served), pattern(3000));
  await writeAll(served, pattern(70_000, 5));
  await served.closeWrite();
  assert.deepEqual(await readAll(conn), pattern(70_000, 5));
});

Deno.test("a half-close the other way round: the client goes on after the target's end of file", async () => {
  await using pair = await startPair();
  using listener = site();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  using served = await listener.accept();
  await served.closeWrite();
  assert.deepEqual(await readAll(conn), new Uint8Array(0));
  await writeAll(conn, pattern(70_000));
  await conn.closeWrite();
  assert.deepEqual(await readAll(served), pattern(70_000));
});

Deno.test("a slow target gets all that a client has sent and closed, when the target itself has ended long ago", async () => {
  await using pair = await startPair();
  using listener = site();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  using served = await listener.accept();
  await served.closeWrite();
  assert.deepEqual(await readAll(conn), new Uint8Array(0));
  const sent = pattern(12_000_000, 6);
  const writing = writeAll(conn, sent).then(() => conn.closeWrite());
  const received: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  for (let length; (length = await served.read(buffer)) !== null;) {
    received.push(buffer.slice(0, length));
    if (received.length % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await writing;
  assert.ok(equal(new Uint8Array(await new Blob(received as BlobPart[]).arrayBuffer()), sent));
});

Deno.test("a half-closed connection that stays idle is reset on both sides after the limit", async () => {
  await using pair = await startPair({ proxy: { tcpHalfCloseTimeout: 0.3 } });
  using listener = site();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  using served = await listener.accept();
  await conn.closeWrite();
  assert.deepEqual(await readAll(served), new Uint8Array(0));
  // That activity puts it off is in tests/proxy/forward, with a clock that stands still.
  await assert.rejects(conn.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  await assert.rejects(async () => {
    for (;;) await served.write(pattern(1));
  });
  assert.equal(pair.gateway.stats().counters.tcpForwarder!.halfClosedTooLong, 1);
});

Deno.test("a closed port is refused", async () => {
  await using pair = await startPair();
  const listener = site();
  const { port } = listener;
  listener.close();
  await assert.rejects(
    pair.client.connect({ hostname: SITE, port }),
    Deno.errors.ConnectionRefused,
  );
  // More than once where the client has asked again before it was answered.
  assert.ok(pair.gateway.stats().counters.tcpForwarder!.refused! >= 1);
});

Deno.test("a client's reset reaches the target as a reset", async () => {
  await using pair = await startPair();
  using listener = site();
  const conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  using served = await listener.accept();
  await writeAll(conn, pattern(10));
  assert.equal(await served.read(new Uint8Array(10)), 10);
  conn.reset();
  await assert.rejects(served.read(new Uint8Array(10)), Deno.errors.ConnectionReset);
  assert.equal(pair.gateway.stats().counters.tcpForwarder!.resetByClient, 1);
});

Deno.test("a target's reset reaches the client as a reset", async () => {
  await using pair = await startPair();
  await using listener = await resettingSite();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  (await listener.accepted).resetAndDestroy();
  await assert.rejects(conn.read(new Uint8Array(10)), Deno.errors.ConnectionReset);
  await assert.rejects(conn.write(new Uint8Array(10)), Deno.errors.ConnectionReset);
  assert.equal(pair.gateway.stats().counters.tcpForwarder!.resetByTarget, 1);
});

Deno.test("a target that answers, closes, and then resets: the client still gets the answer", async () => {
  await using pair = await startPair();
  await using listener = await resettingSite();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  const target = await listener.accepted;
  target.on("error", () => {});
  target.end(pattern(300_000));
  await until(() => target.writableFinished, "the answer is written");
  await writeAll(conn, pattern(1000)); // what the target does not want any more
  const answer = await readAll(conn);
  target.resetAndDestroy();
  assert.ok(equal(answer, pattern(300_000)));
});

Deno.test("a slow target stops the client: nothing is queued without bound", async () => {
  await using pair = await startPair();
  using listener = site();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  using served = await listener.accept();
  let sent = 0;
  const chunk = pattern(65536);
  const writing = (async () => {
    while (sent < 64 << 20) sent += await conn.write(chunk);
  })().catch(() => {}); // reset at the end
  await windowCloses(pair.client);
  // Two rings, two kernel buffers and a read: far less than what the client wants to send.
  assert.ok(sent < 24 << 20, `${sent} bytes were taken`);
  const before = sent;
  const buffer = new Uint8Array(65536);
  for (let read = 0; read < before;) read += (await served.read(buffer))!;
  await until(() => sent > before, "the client goes on once the target reads");
  conn.reset();
  await writing;
});

Deno.test("a slow client stops the reading of the target", async () => {
  await using pair = await startPair();
  using listener = site();
  using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
  const served = await listener.accept();
  let sent = 0;
  const chunk = pattern(65536);
  const writing = (async () => {
    while (sent < 64 << 20) sent += await served.write(chunk);
  })().catch(() => {});
  await windowCloses(pair.gateway);
  assert.ok(sent < 24 << 20, `${sent} bytes were taken`);
  const before = sent;
  const buffer = new Uint8Array(65536);
  for (let read = 0; read < before;) read += (await conn.read(buffer))!;
  await until(() => sent > before, "the target goes on once the client reads");
  conn.reset();
  await writing;
  served.close();
});

/** Until nothing is sent any more but probes of the other's window: three in a row. */
async function windowCloses(sender: Wirestack): Promise<void> {
  const sent = () => {
    const { counters, peers } = sender.stats();
    return { segments: counters.tcp.segmentsOut!, bytes: peers[0]!.sentBytes };
  };
  let before = sent();
  let probes = 0;
  await until(() => {
    const now = sent();
    if (now.segments === before.segments) return false;
    const isProbe = now.bytes - before.bytes < 200; // or it was a segment of the data
    probes = isProbe ? probes + 1 : 0;
    before = now;
    return probes === 3;
  }, "the window is closed");
}

Deno.test("targets that are not safe are refused, whatever Subnets says", () =>
  tries(4, async () => {
    await using pair = await startPair({ proxy: { subnets: ["0.0.0.0/0", "::/0"] } });
    using listener = site();
    const hostnames = ["169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::1"];
    for (const hostname of hostnames) {
      const connecting = pair.client.connect({ hostname, port: listener.port });
      const connected = connecting.then(() => {
        throw new Defect(`connected to ${hostname}`);
      });
      await assert.rejects(connected, (error) => {
        if (error instanceof Defect) throw error;
        return error instanceof Deno.errors.ConnectionRefused;
      });
    }
    // A refusal that takes a second is asked for twice.
    assert.equal(pair.gateway.stats().counters.tcpForwarder!.forbidden, hostnames.length);
  }));

Deno.test("an address outside Subnets never reaches the proxy", async () => {
  await using pair = await startPair();
  // Not even from this side.
  await assert.rejects(
    pair.gateway.connect({ hostname: "10.60.0.1", port: 80 }),
    Deno.errors.NetworkUnreachable,
  );
  await assert.rejects(
    pair.client.connect({ hostname: "10.60.0.1", port: 80 }),
    Deno.errors.NetworkUnreachable,
  );
  assert.equal(pair.gateway.stats().counters.tcpForwarder!.requests, 0);
});

Deno.test("a target that does not answer is given up after the dial limit", async () => {
  await using pair = await startPair({
    proxy: { tcpDialTimeout: 0.2 },
  });
  using silent = await silentSite();
  const error = await pair.client.connect({ hostname: SITE, port: silent.port })
    .then(() => assert.fail("it was accepted"), (error) => error);
  assert.ok(
    error instanceof Deno.errors.NetworkUnreachable ||
      error instanceof Deno.errors.ConnectionRefused,
    `${error}`,
  );
  assert.equal(pair.gateway.stats().counters.tcpForwarder!.timedOut, 1);
});

Deno.test("more dials than allowed are dropped without a word, and succeed when tried again", async () => {
  let tcpDialTimeout = 0.5; // the first has to be in flight still when the second comes
  await tries(4, async () => {
    await using pair = await startPair({ proxy: { maxDials: 1, tcpDialTimeout } });
    tcpDialTimeout *= 4;
    using silent = await silentSite();
    using listener = site();
    const first = pair.client.connect({ hostname: SITE, port: silent.port }).catch(() => {});
    await until(() => pair.gateway.stats().resources.tcpDials === 1, "a dial is in flight");
    using conn = await pair.client.connect({ hostname: SITE, port: listener.port });
    assert.equal(conn.remoteAddr.port, listener.port);
    assert.ok(pair.gateway.stats().counters.tcpForwarder!.tooManyDials! > 0);
    await first;
  });
});

Deno.test("after 300 connections, 50 at a time, nothing is left", async () => {
  await using pair = await startPair({ gateway: { tcp: { timeWaitMs: 50 } } });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    return new Response(pattern(10_000) as BufferSource);
  });
  const fetchOne = async () => {
    using conn = await pair.client.connect({ hostname: SITE, port: server.addr.port });
    await writeAll(conn, new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
    return (await readAll(conn)).length;
  };
  for (let round = 0; round < 6; round++) {
    const sizes = await Promise.all(Array.from({ length: 50 }, fetchOne));
    assert.ok(sizes.every((size) => size > 10_000), `${sizes}`);
  }
  await server.shutdown();
  const left = () =>
    Object.entries(pair.gateway.stats().resources).filter(([, count]) => count > 0);
  await until(() => left().length === 0, `nothing is left`);
  assert.deepEqual(left(), []);
});

Deno.test("closing lets connections finish, waits for no idle one, and resets those", async () => {
  const pair = await startPair();
  using listener = site();
  using finishing = await pair.client.connect({ hostname: SITE, port: listener.port });
  using finishingServed = await listener.accept();
  using staying = await pair.client.connect({ hostname: SITE, port: listener.port });
  using stayingServed = await listener.accept();
  const closing = pair.gateway.close({ graceMs: 60_000 });
  await assert.rejects(
    pair.client.connect({ hostname: SITE, port: listener.port }),
    Deno.errors.ConnectionRefused,
  );
  await writeAll(finishing, pattern(1000));
  await finishing.closeWrite();
  assert.deepEqual(await readAll(finishingServed), pattern(1000));
  await finishingServed.closeWrite();
  assert.deepEqual(await readAll(finishing), new Uint8Array(0));
  const reset = assert.rejects(staying.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  await closing;
  await reset;
  await assert.rejects(stayingServed.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  await pair.client.close();
});

/** Listens, and does not answer: its queue of connections is full. */
async function silentSite() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  // One more than the backlog fills the queue (listen(2), sk_acceptq_is_full). How long a connection
  // takes would say nothing on a busy machine.
  const to = { hostname: "127.0.0.1", port };
  const queued = [await Deno.connect(to), await Deno.connect(to)];
  return {
    port,
    [Symbol.dispose]() {
      for (const conn of queued) conn.close();
      listener.close();
    },
  };
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
