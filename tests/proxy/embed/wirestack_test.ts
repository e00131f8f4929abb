import assert from "node:assert/strict";
import { pathToFileURL as toFileUrl } from "node:url";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { ConfigError, SettingError } from "../../../proxy/config/config.ts";
import { pattern, readAll, SITE, startPair, until, writeAll } from "../pair.ts";
import { startWirestack } from "../start.ts";

const key = () => encodeKey(generatePrivateKey());

Deno.test("connect and listen inside the tunnel, from either side", async () => {
  await using pair = await startPair({ proxy: null });
  for (
    const [from, at, hostname] of [
      [pair.client, pair.gateway, "10.9.0.1"],
      [pair.gateway, pair.client, "10.9.0.2"],
      [pair.client, pair.gateway, "fd09::1"],
    ] as const
  ) {
    using listener = at.listen({ port: 0 });
    const accepting = listener.accept();
    using conn = await from.connect({ hostname, port: listener.addr.port });
    using accepted = await accepting;
    assert.equal(accepted.localAddr.hostname, hostname);
    assert.deepEqual(accepted.remoteAddr, conn.localAddr);
    await writeAll(conn, pattern(5000));
    await conn.closeWrite();
    assert.deepEqual(await readAll(accepted), pattern(5000));
  }
});

Deno.test("the streams of a connection: an echo is two lines, and closes", async () => {
  await using pair = await startPair({ proxy: null });
  using listener = pair.gateway.listen({ port: 7 });
  const serving = (async () => {
    for await (const conn of listener) {
      await conn.readable.pipeTo(conn.writable);
      return;
    }
  })();
  using conn = await pair.client.connect({ hostname: "10.9.0.1", port: 7 });
  const sent = pattern(300_000);
  const [received] = await Promise.all([
    new Response(conn.readable).bytes(),
    new Blob([sent as BlobPart]).stream().pipeTo(conn.writable),
  ]);
  assert.deepEqual(received, sent);
  await serving;
});

Deno.test("a closed port of the gateway itself is refused", async () => {
  await using pair = await startPair({ proxy: null });
  await assert.rejects(
    pair.client.connect({ hostname: "10.9.0.1", port: 81 }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("an AbortSignal ends a connection attempt, with its reason", async () => {
  await using pair = await startPair({ proxy: null });
  const reason = new Error("enough");
  await assert.rejects(
    pair.client.connect({ hostname: "10.9.0.1", port: 1, signal: AbortSignal.abort(reason) }),
    reason,
  );
  await pair.gateway.close();
  const stop = new AbortController();
  const connecting = pair.client.connect({ hostname: "10.9.0.1", port: 1, signal: stop.signal });
  queueMicrotask(() => stop.abort(reason));
  await assert.rejects(connecting, reason);
  const isGone = () => pair.client.stats().resources.tcpConnections === 0;
  await until(isGone, "nothing is left of it");
});

Deno.test("operations on what is closed reject as Deno's do", async () => {
  await using pair = await startPair({ proxy: null });
  const listener = pair.gateway.listen({ port: 9 });
  const conn = await pair.client.connect({ hostname: "10.9.0.1", port: 9 });
  const waiting = conn.read(new Uint8Array(1));
  conn.close();
  await assert.rejects(waiting, Deno.errors.BadResource);
  await assert.rejects(conn.write(new Uint8Array(1)), Deno.errors.BadResource);
  assert.throws(() => conn.close(), Deno.errors.BadResource);
  await listener.accept();
  const accepting = listener.accept();
  listener.close();
  await assert.rejects(accepting, Deno.errors.BadResource);
  assert.throws(
    () => pair.client.listen({ port: 9, hostname: "10.9.0.77" }),
    Deno.errors.AddrNotAvailable,
  );
  using _first = pair.client.listen({ port: 9 });
  assert.throws(() => pair.client.listen({ port: 9 }), Deno.errors.AddrInUse);
  using _socket = pair.client.listenDatagram({ port: 9 });
  assert.throws(() => pair.client.listenDatagram({ port: 9 }), Deno.errors.AddrInUse);
  await assert.rejects(pair.client.connect({ hostname: "example.com", port: 80 }), TypeError);
  await assert.rejects(pair.client.connect({ hostname: "10.9.0.1", port: 70000 }), RangeError);
  for (const port of [-1, NaN, 70000]) {
    assert.throws(() => pair.client.listen({ port }), RangeError);
    assert.throws(() => pair.client.listenDatagram({ port }), RangeError);
  }
  for (const backlog of [0, -1, NaN]) {
    assert.throws(() => pair.client.listen({ port: 0, backlog }), RangeError);
  }
});

Deno.test("after close everything rejects at once", async () => {
  await using pair = await startPair({ proxy: null });
  const { client } = pair;
  await client.close();
  const { BadResource } = Deno.errors;
  await assert.rejects(client.connect({ hostname: "10.9.0.1", port: 80 }), BadResource);
  assert.throws(() => client.listen({ port: 80 }), BadResource);
  assert.throws(() => client.listenDatagram({ port: 80 }), BadResource);
  assert.throws(() => client.enableProxyOnSubnet(["10.50.0.0/16"]), BadResource);
  assert.throws(() => client.disableProxyOnSubnet(["10.50.0.0/16"]), BadResource);
  assert.throws(() => client.enableTcpProxy(), BadResource);
  assert.throws(() => client.enableUdpProxy(), BadResource);
  await client.close();
});

Deno.test("an address of the tunnel's network that no peer has is unreachable at once", async () => {
  await using pair = await startPair();
  for (const hostname of ["10.9.0.77", SITE]) {
    await assert.rejects(
      pair.gateway.connect({ hostname, port: 80 }),
      { name: "NetworkUnreachable", message: `connect: no peer's AllowedIPs hold ${hostname}` },
    );
  }
});

Deno.test("a subnet can be proxied later, for one protocol, and no longer", async () => {
  await using pair = await startPair({ proxy: { subnets: [] } });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const connect = () => pair.client.connect({ hostname: SITE, port });
  const isReached = () => connect().then((conn) => (conn.close(), true), () => false);
  assert.equal(await isReached(), false);
  pair.gateway.enableProxyOnSubnet(["10.50.0.0/24"], { udp: false });
  assert.equal(await isReached(), true);
  pair.gateway.enableProxyOnSubnet(["10.50.0.0/24"], { tcp: false });
  assert.equal(await isReached(), false);
  pair.gateway.enableProxyOnSubnet(["10.50.0.0/24"]);
  assert.equal(await isReached(), true);
  pair.gateway.disableProxyOnSubnet(["10.50.0.0/24"]);
  assert.equal(await isReached(), false);
  assert.throws(() => pair.gateway.enableProxyOnSubnet(["10.50.0.0/33"]), TypeError);
});

Deno.test("a peer's more specific prefix is not proxied, an equal one is", async () => {
  await using pair = await startPair({
    proxy: { subnets: ["10.9.0.0/24"], map: "10.9.0.3 -> 127.0.0.1" },
  });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  // 10.9.0.3/32 is the client's own.
  await assert.rejects(
    pair.client.connect({ hostname: "10.9.0.3", port, signal: AbortSignal.timeout(300) }),
  );
  pair.gateway.enableProxyOnSubnet(["10.9.0.3/32"]);
  (await pair.client.connect({ hostname: "10.9.0.3", port })).close();
});

Deno.test("single-interface mode: the forwarders answer on NIC 1, for everything but its own", async () => {
  await using pair = await startPair({ proxy: { subnets: [] } });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  pair.gateway.enableTcpProxy();
  (await pair.client.connect({ hostname: SITE, port })).close();
  await assert.rejects(
    pair.client.connect({ hostname: "10.9.0.1", port }),
    Deno.errors.ConnectionRefused,
  );
  pair.gateway.enableUdpProxy();
  const echo = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  using socket = pair.client.listenDatagram();
  await socket.send(pattern(9), {
    transport: "udp",
    hostname: SITE,
    port: (echo.addr as Deno.NetAddr).port,
  });
  const [bytes, from] = await echo.receive();
  await echo.send(bytes, from);
  echo.close();
  assert.deepEqual((await socket.receive())[0], pattern(9));
});

Deno.test("Interface = nic1 with Subnets: the others are refused", async () => {
  await using pair = await startPair({ proxy: { interface: "nic1" } });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  (await pair.client.connect({ hostname: SITE, port })).close();
  await assert.rejects(
    pair.client.connect({ hostname: "10.60.0.1", port }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("starts from a path, from text and from an object; tells everything that is wrong", async () => {
  const privateKey = key();
  const text = `[Interface]\nPrivateKey = ${privateKey}\nAddress = 10.9.0.1/24\n`;
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, text);
  try {
    const url = toFileUrl(file);
    for (
      const source of [
        ...[file, url, { file }, { file: url }],
        ...[{ text }, { config: text }, { interface: { privateKey } }],
      ]
    ) {
      await using net = await startWirestack(source);
      assert.equal(
        encodeKey(net.publicKey),
        encodeKey(publicKeyOf(Uint8Array.fromBase64(privateKey))),
      );
      assert.ok(net.port > 0);
    }
  } finally {
    await Deno.remove(file);
  }
  await assert.rejects(startWirestack({ text: "[Interface]\nMTU = 1\n" }), (error) => {
    assert.ok(error instanceof ConfigError && error.problems.length === 2);
    return true;
  });
  await assert.rejects(startWirestack(text), (error) => {
    assert.ok(error instanceof TypeError && !error.message.includes(privateKey));
    assert.match(error.message, /a string is the path of a file.*\{ text \}/);
    return true;
  });
  await assert.rejects(startWirestack("no-such.conf"), {
    name: "ConfigError",
    message: "no-such.conf: no such file, expected a wg-quick file",
  });
  await assert.rejects(
    startWirestack(undefined as never),
    { name: "TypeError", message: "expected the path of a file, or an object, got undefined" },
  );
});

Deno.test("a port in use is an error that names the setting", async () => {
  await using net = await startWirestack({ interface: { privateKey: key() } });
  await assert.rejects(
    startWirestack({ interface: { privateKey: key(), listenPort: net.port } }),
    (error) => {
      assert.ok(error instanceof SettingError);
      assert.deepEqual(error.path, ["interface", "listenPort"]);
      assert.match(error.message, new RegExp(`port ${net.port} is in use`));
      return true;
    },
  );
  await assert.rejects(
    startWirestack({ interface: { privateKey: key(), listenAddress: "192.0.2.77" } }),
    (error) => error instanceof SettingError && error.path[1] === "listenAddress",
  );
});

Deno.test("statistics are plain JSON, hold no secret, and count the peer's bytes", async () => {
  await using pair = await startPair();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using conn = await pair.client.connect({ hostname: SITE, port: listener.addr.port });
  await writeAll(conn, pattern(10_000));
  const relayed = () => pair.gateway.stats().connections[0]?.bytesUp === 10_000;
  await until(relayed, "the bytes have arrived");
  const stats = pair.gateway.stats();
  assert.deepEqual(JSON.parse(JSON.stringify(stats)), stats);
  const [peer] = stats.peers;
  assert.ok(peer!.receivedBytes > 10_000 && peer!.sentBytes > 0);
  assert.ok(Math.abs(peer!.lastHandshake - Date.now()) < 10_000);
  assert.match(peer!.endpoint!, /^127\.0\.0\.1:\d+$/);
  assert.equal(stats.connections[0]!.target, `${SITE}:${listener.addr.port}`);
  assert.equal(stats.connections[0]!.dialled, `127.0.0.1:${listener.addr.port}`);
  assert.doesNotMatch(JSON.stringify(stats), /private|preshared/i);
});

Deno.test("the example in the README runs", async () => {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "--unstable-net", "--allow-net"],
      new URL("../../../examples/embed.ts", import.meta.url).href,
    ],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  assert.equal(
    new TextDecoder().decode(stdout),
    "hello from behind the gateway\nthrough WireGuard: true\n",
  );
});

Deno.test("an MTU too small for IPv6 is an error that names the setting", async () => {
  const mtu = 1279;
  await assert.rejects(
    startWirestack({ interface: { privateKey: key(), address: "fd09::1/64", mtu } }),
    (error) => error instanceof ConfigError && /mtu: 1279 is too small/.test(error.message),
  );
});
