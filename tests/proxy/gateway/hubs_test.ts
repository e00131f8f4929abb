/** A client and an agent of two hubs, with real sockets: what the configuration leads to. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { pattern, until } from "../pair.ts";
import { startGateway, startWirestack } from "../start.ts";

const keys = Array.from({ length: 4 }, () => generatePrivateKey());
const [hubA, hubB, agentKey, clientKey] = keys as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
const publicText = (key: Uint8Array) => encodeKey(publicKeyOf(key));

function hubFile(key: Uint8Array, address: string): string {
  return `[Interface]\nPrivateKey = ${encodeKey(key)}\nAddress = ${address}/24\n` +
    "ListenAddress = 127.0.0.1\nPeerToPeer = true\n" +
    `[Peer]\nPublicKey = ${publicText(agentKey)}\nAllowedIPs = 10.9.0.2/32, 100.64.1.0/24\n` +
    `[Peer]\nPublicKey = ${publicText(clientKey)}\nAllowedIPs = 10.9.0.10/32\n`;
}

Deno.test("a client goes on by the other hub when the one that it uses is gone, connections too", async () => {
  const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = (async () => {
    for await (const conn of echo) conn.readable.pipeTo(conn.writable).catch(() => {});
  })();
  const hubs = [
    await startGateway(loadConfig(hubFile(hubA, "10.9.0.1")).config),
    await startGateway(loadConfig(hubFile(hubB, "10.9.0.254")).config),
  ];
  const peers = (shared: string) =>
    [hubA, hubB].map((key, i) => ({
      name: `hub${i}`,
      publicKey: publicText(key),
      allowedIps: [shared],
      endpoint: `127.0.0.1:${hubs[i]!.port}`,
      persistentKeepalive: 10,
    }));
  const { port } = echo.addr as Deno.NetAddr;
  const agent = await startWirestack({
    interface: { privateKey: encodeKey(agentKey), address: "10.9.0.2/24" },
    peers: peers("10.9.0.0/24"),
    proxy: { subnets: "100.64.1.0/24", map: "100.64.1.5 -> 127.0.0.1" },
  });
  const client = await startWirestack({
    interface: { privateKey: encodeKey(clientKey), address: "10.9.0.10/32" },
    peers: peers("100.64.0.0/10"),
  });
  try {
    const sessions = () =>
      [agent, client].every((site) =>
        site.stats().peers.every(({ lastHandshake }) => lastHandshake)
      );
    await until(sessions, "sessions with both hubs");
    // Who has answered once is missed soon.
    const asked = () => hubs.every(({ engine }) => engine.device.counters.probesReceived >= 2);
    await until(asked, "both have asked both hubs");
    const conn = await client.connect({ hostname: "100.64.1.5", port });
    const ping = async (seed: number) => {
      const sent = pattern(1000, seed);
      await conn.write(sent);
      const received = new Uint8Array(sent.length);
      for (let at = 0; at < sent.length;) {
        const length = await conn.read(received.subarray(at));
        assert.ok(length !== null, "the connection has ended");
        at += length;
      }
      assert.deepEqual(received, sent);
    };
    await ping(1);
    const holder = () =>
      client.stats().peers.findIndex(({ allowedIps }) => allowedIps.includes("100.64.0.0/10"));
    const used = holder();
    assert.ok(used >= 0);
    const since = performance.now();
    await hubs[used]!.close();
    await ping(2);
    // Not three minutes later, when a session would be over.
    assert.ok(performance.now() - since < 10_000, `${performance.now() - since} ms`);
    await until(() => {
      const states = client.stats().peers.map(({ state }) => state);
      return holder() === 1 - used &&
        states.every((state, hub) => state === (hub === used ? "silent" : "connected"));
    }, "the other has it, and is there");
    conn.close();
  } finally {
    await client.close();
    await agent.close();
    for (const hub of hubs) await hub.close();
    echo.close();
    await served;
  }
});

Deno.test("a prefix that peers without an endpoint share is the last one's, as ever", async () => {
  const { config, warnings } = loadConfig(
    `[Interface]\nPrivateKey = ${encodeKey(hubA)}\n` +
      `[Peer]\nPublicKey = ${publicText(agentKey)}\nAllowedIPs = 10.9.0.0/24\n` +
      `[Peer]\nPublicKey = ${publicText(clientKey)}\nAllowedIPs = 10.9.0.0/24\n` +
      "Endpoint = 127.0.0.1:9\n",
  );
  assert.match(warnings.join(), /10\.9\.0\.0\/24 moves to this peer/);
  await using gateway = await startGateway(config);
  assert.deepEqual(gateway.stats().peers.map(({ allowedIps }) => allowedIps), [
    [],
    ["10.9.0.0/24"],
  ]);
});

Deno.test("hubs that share a prefix are no mistake, and are said to take turns", () => {
  const peer = (key: Uint8Array, name: string) =>
    `[Peer]\nName = ${name}\nPublicKey = ${publicText(key)}\nAllowedIPs = 100.64.0.0/10\n` +
    "Endpoint = 127.0.0.1:9\n";
  const { warnings } = loadConfig(
    `[Interface]\nPrivateKey = ${encodeKey(clientKey)}\n${peer(hubA, "a")}${peer(hubB, "b")}`,
  );
  assert.deepEqual(warnings, []);
});
