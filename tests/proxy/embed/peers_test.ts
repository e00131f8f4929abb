import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { updatePeer } from "../../../proxy/gateway/peer_changes.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { readAll, startPair, until, writeAll } from "../pair.ts";
import { startGateway, startWirestack } from "../start.ts";

/** A client of `gateway` at an address, whether or not the gateway knows it. */
function startClient(gateway: Wirestack, privateKey: Uint8Array, address: string) {
  return startWirestack({
    interface: { privateKey, address: `${address}/24` },
    peers: [{
      publicKey: gateway.publicKey,
      allowedIps: "10.0.0.0/8",
      endpoint: `127.0.0.1:${gateway.port}`,
    }],
  });
}

async function reach(client: Wirestack, port: number): Promise<void> {
  (await client.connect({ hostname: "10.9.0.1", port })).close();
}

/** That a connection does not come about, however long it is given within reason. */
async function assertUnreached(client: Wirestack, port: number): Promise<void> {
  const connecting = client.connect({ hostname: "10.9.0.1", port, timeoutMs: 300 });
  await assert.rejects(connecting, Deno.errors.TimedOut);
}

Deno.test("an update of a peer's limits leaves those that it does not name, and null takes one away", async () => {
  const publicKey = encodeKey(publicKeyOf(generatePrivateKey()));
  const { config } = loadConfig({
    interface: { privateKey: encodeKey(generatePrivateKey()) },
    peers: [{ publicKey, rateUp: "1Mbit", maxUdpSessions: 5 }],
  });
  await using gateway = await startGateway(config);
  const limits = () => gateway.peers.limits([...gateway.engine.device.peers()][0]!);
  updatePeer(gateway, publicKey, { rateDown: "2Mbit", rateBurst: 1 });
  const both = { rateUp: 1e6, rateDown: 2e6, maxUdpSessions: 5, rateBurstMs: 1000 };
  assert.deepEqual(limits(), both);
  updatePeer(gateway, publicKey, { name: "laptop" });
  assert.deepEqual(limits(), both);
  updatePeer(gateway, publicKey, { rateUp: null, maxUdpSessions: null });
  assert.deepEqual(limits(), { rateDown: 2e6, rateBurstMs: 1000 });
  updatePeer(gateway, publicKey, { rateDown: null });
  assert.equal(limits(), undefined);
});

Deno.test("a peer is added, renamed, moved and removed while others' connections go on", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway } = pair;
  using listener = gateway.listen({ port: 7 });
  const accepting = listener.accept();
  using held = await pair.client.connect({ hostname: "10.9.0.1", port: 7 });
  using accepted = await accepting;

  const key = generatePrivateKey();
  const publicKey = publicKeyOf(key);
  const late = await startClient(gateway, key, "10.9.0.7");
  gateway.addPeer({ publicKey, name: "laptop", allowedIps: "10.9.0.7/32" });
  await reach(late, 7);

  gateway.updatePeer(publicKey, { name: "old laptop", persistentKeepalive: 25 });
  const shown = gateway.stats().peers.find((peer) => peer.publicKey === encodeKey(publicKey));
  assert.equal(shown!.name, "old laptop");
  assert.equal(shown!.persistentKeepalive, 25);
  assert.deepEqual(shown!.allowedIps, ["10.9.0.7/32"]);
  gateway.updatePeer(encodeKey(publicKey), { allowedIps: ["10.9.0.8/32"], name: null });
  // From an address that is not its own.
  await assertUnreached(late, 7);
  gateway.updatePeer(publicKey, { allowedIps: "10.9.0.7" });
  await reach(late, 7);

  assert.equal(gateway.removePeer(publicKey), true);
  assert.equal(gateway.removePeer(publicKey), false);
  await assertUnreached(late, 7);
  await late.close({ graceMs: 0 });

  await writeAll(held, new Uint8Array(9));
  await held.closeWrite();
  assert.equal((await readAll(accepted)).length, 9);
});

Deno.test("a peer's endpoint and preshared key change while it runs", async () => {
  const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
  await using gateway = await startWirestack({
    interface: { privateKey: ours, address: "10.9.0.1/24" },
    peers: [{ publicKey: publicKeyOf(theirs), allowedIps: "10.9.0.7/32" }],
  });
  using _listener = gateway.listen({ port: 7 });
  await using client = await startWirestack({
    interface: { privateKey: theirs, address: "10.9.0.7/24" },
    peers: [{ publicKey: gateway.publicKey, allowedIps: "10.9.0.0/24" }],
  });
  client.updatePeer(gateway.publicKey, { endpoint: `127.0.0.1:${gateway.port}` });
  await reach(client, 7);
  const presharedKey = generatePrivateKey();
  for (const [net, key] of [[gateway, client.publicKey], [client, gateway.publicKey]] as const) {
    net.updatePeer(key, { presharedKey });
  }
  client.updatePeer(gateway.publicKey, { endpoint: null });
  await reach(client, 7); // it stays where it was heard last
});

Deno.test("wrong peers are refused by name, and change nothing", async () => {
  await using pair = await startPair({ proxy: null });
  const { gateway, client } = pair;
  const before = gateway.stats().peers;
  const publicKey = publicKeyOf(generatePrivateKey());
  const config = (message: string) => ({ name: "ConfigError", message });
  assert.throws(
    () => gateway.addPeer({ publicKey: "x", allowedIps: "10.9.0.300" }),
    (error: Error) => /^peer\.publicKey: not a key.*\npeer\.allowedIps\[0\]: /.test(error.message),
  );
  assert.throws(
    () => gateway.addPeer({ publicKey, allowedIp: "10.9.0.7" } as never),
    config("peer.allowedIp: unknown key, did you mean allowedIps?"),
  );
  assert.throws(
    () => gateway.addPeer({ publicKey: publicKey.subarray(1) }),
    config("peer.publicKey: not a key: 31 bytes, expected 32"),
  );
  assert.throws(
    () => gateway.addPeer({ publicKey: gateway.publicKey }),
    config("peer.publicKey: is this gateway's own key, expected another one"),
  );
  assert.throws(
    () => gateway.addPeer({ publicKey: client.publicKey }),
    Deno.errors.AlreadyExists,
  );
  assert.throws(() => gateway.updatePeer(publicKey, {}), Deno.errors.NotFound);
  assert.throws(
    () => gateway.updatePeer(client.publicKey, { endpoint: "nowhere", persistentKeepalive: 5 }),
    (error: Error) => error.message.startsWith("peer.endpoint[0]: "),
  );
  assert.throws(
    () => gateway.updatePeer(client.publicKey, { publicKey } as never),
    TypeError,
  );
  gateway.updatePeer(client.publicKey, { name: "phone" });
  assert.throws(
    () => gateway.addPeer({ publicKey, name: "Phone" }),
    config("peer.name: Phone is another peer's too, expected each name once"),
  );
  gateway.updatePeer(client.publicKey, { name: null });
  assert.deepEqual(gateway.stats().peers, before);
});

Deno.test("a reload adds, changes and removes; what only a restart can change is named", async () => {
  const [ours, first, second] = [generatePrivateKey(), generatePrivateKey(), generatePrivateKey()];
  const start = (peers: { publicKey: Uint8Array; allowedIps: string }[], mtu?: number) => ({
    interface: { privateKey: ours, address: "10.9.0.1/24", ...(mtu && { mtu }) },
    peers,
    proxy: { subnets: "10.50.0.0/16" },
  });
  const a = { publicKey: publicKeyOf(first), allowedIps: "10.9.0.7/32" };
  const b = { publicKey: publicKeyOf(second), allowedIps: "10.9.0.8/32" };
  await using gateway = await startWirestack(start([a]));
  const report = await gateway.reload(start([b]));
  assert.equal(report.added, 1);
  assert.equal(report.removed, 1);
  assert.deepEqual(gateway.stats().peers.map(({ allowedIps }) => allowedIps), [["10.9.0.8/32"]]);
  const { warnings } = await gateway.reload(start([b], 1300));
  assert.match(warnings.join(), /^interface\.mtu: cannot change while running/);
  await assert.rejects(gateway.reload({ text: "[Interface]" }), { name: "ConfigError" });
  await gateway.close();
  await assert.rejects(gateway.reload(start([a])), Deno.errors.BadResource);
  assert.throws(() => gateway.addPeer(a), Deno.errors.BadResource);
  assert.throws(() => gateway.updatePeer(b.publicKey, {}), Deno.errors.BadResource);
  assert.throws(() => gateway.removePeer(b.publicKey), Deno.errors.BadResource);
});

Deno.test("the bytes of a key are copied: the caller may wipe its own", async () => {
  const key = generatePrivateKey();
  const expected = publicKeyOf(key);
  await using net = await startWirestack({ interface: { privateKey: key } });
  key.fill(0);
  assert.deepEqual(net.publicKey, expected);
  const other = generatePrivateKey();
  assert.deepEqual(publicKeyOf(encodeKey(other)), publicKeyOf(other));
  assert.throws(() => publicKeyOf("x"), RangeError);
});

Deno.test("what a peer has open ends when it is removed or loses the address", async () => {
  const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
  await using gateway = await startWirestack({
    interface: { privateKey: ours, address: "10.9.0.1/24" },
    peers: [{ publicKey: publicKeyOf(theirs), allowedIps: ["10.9.0.2/32", "10.9.0.4/32"] }],
    proxy: { subnets: "10.50.0.0/16", map: "10.50.0.1 -> 127.0.0.1" },
  });
  using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const answering = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const hostname = "10.50.0.1";
  const { port } = server.addr as Deno.NetAddr;
  const udp = { transport: "udp", hostname, port: (answering.addr as Deno.NetAddr).port } as const;

  for (
    const lose of [
      () => gateway.updatePeer(publicKeyOf(theirs), { allowedIps: "10.9.0.4/32" }),
      () => gateway.removePeer(publicKeyOf(theirs)),
    ]
  ) {
    const address = gateway.stats().peers[0]!.allowedIps[0]!.slice(0, -3);
    const client = await startClient(gateway, theirs, address);
    const accepting = server.accept();
    using _conn = await client.connect({ hostname, port });
    using accepted = await accepting;
    using socket = client.listenDatagram({ port: 4000 });
    await socket.send(new Uint8Array(1), udp);
    await answering.receive();
    assert.equal(gateway.stats().connections.length, 1);
    lose();
    await until(() => gateway.stats().connections.length === 0, "its connection has ended");
    assert.equal(gateway.stats().resources.udpSessions, 0);
    await assert.rejects(accepted.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
    await client.close({ graceMs: 0 });
  }
  answering.close();
});
