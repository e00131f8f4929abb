import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import type { ConfigInput, RuleInput } from "../../../proxy/config/config.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { Wirestack } from "../../../proxy/embed/wirestack.ts";
import type { Resolve } from "../../../proxy/gateway/resolver.ts";
import { pattern, readAll, until, writeAll } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { ownUdpPort } from "../own_port.ts";

/** So that what takes minutes takes tenths of seconds. */
const FAST = {
  rekeyAfterMs: 600,
  rejectAfterMs: 900,
  rekeyTimeoutMs: 50,
  rekeyJitterMs: 10,
  rekeyAttemptMs: 300,
  keepaliveTimeoutMs: 100,
  zeroKeysMs: 2700,
};

const loopback = parseIpAddress("127.0.0.1")!;
const siteKey = generatePrivateKey();
const otherKey = generatePrivateKey();

function startOther(port = ownUdpPort(), listenAddress?: string): Promise<Wirestack> {
  return startWirestack({
    interface: {
      privateKey: encodeKey(otherKey),
      address: "10.9.0.1/24",
      listenPort: port,
      ...(listenAddress !== undefined && { listenAddress }),
    },
    peers: [{ publicKey: encodeKey(publicKeyOf(siteKey)), allowedIps: "10.9.0.2/32" }],
  }, { timers: FAST });
}

/** Behind NAT: no ListenPort, the other side by name, keepalive. */
function startSite(
  port: number,
  resolve: Resolve,
): Promise<Wirestack> {
  return startWirestack(siteConfig(port), { timers: FAST, resolve });
}

function siteConfig(port: number): ConfigInput {
  return {
    interface: { privateKey: encodeKey(siteKey), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(otherKey)),
      allowedIps: "10.9.0.1/32",
      endpoint: `gateway.example:${port}`,
      persistentKeepalive: 1,
    }],
  };
}

const isConnected = (net: Wirestack, since: number) => net.stats().peers[0]!.lastHandshake > since;

Deno.test("a site behind NAT dials out by name, and is back after the other side was gone", async () => {
  const asked: string[] = [];
  const other = await startOther();
  await using site = await startSite(other.port, (hostname) => {
    asked.push(hostname);
    return Promise.resolve(loopback);
  });
  await until(() => isConnected(other, 0), "the site has called");
  assert.deepEqual(asked, ["gateway.example"]);
  const { port } = other;
  await other.close();
  // Longer than handshakes are retried: the site has given up once, its keepalive has not.
  const { initiationsSent } = site.stats().counters.wireguard!;
  await until(
    () => site.stats().counters.wireguard!.initiationsSent! > initiationsSent! + 8,
    "it has called in vain",
  );
  const gone = Date.now();
  await using again = await startOther(port);
  await until(() => isConnected(again, gone) && isConnected(site, gone), "the site is back");
  using listener = site.listen({ port: 80 });
  const accepting = listener.accept();
  using conn = await again.connect({ hostname: "10.9.0.2", port: 80 });
  using accepted = await accepting;
  await writeAll(conn, pattern(100));
  await conn.closeWrite();
  assert.deepEqual(await readAll(accepted), pattern(100));
});

Deno.test("the second address of a name has its turn when the first does not answer", async () => {
  await using other = await startOther(undefined, "127.0.0.1");
  // Another address of this host, where nobody listens.
  await using site = await startSite(
    other.port,
    () => Promise.resolve([IpAddress.v4(127, 0, 0, 3), loopback]),
  );
  await until(() => isConnected(site, 0), "the site has found it");
  assert.equal(site.stats().peers[0]!.endpoint, `127.0.0.1:${other.port}`);
});

Deno.test("a name that is not found at start is looked up again until it is", async () => {
  await using other = await startOther();
  let attempts = 0;
  await using _site = await startSite(other.port, () => {
    attempts++;
    return attempts === 1
      ? Promise.reject(new Error("Temporary failure in name resolution"))
      : Promise.resolve(loopback);
  });
  await until(() => isConnected(other, 0), "the site has called");
  assert.equal(attempts, 2);
});

Deno.test("the system's own resolver knows localhost", async () => {
  await using other = await startOther();
  await using site = await startWirestack({
    interface: { privateKey: encodeKey(siteKey), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(otherKey)),
      endpoint: `localhost:${other.port}`,
      persistentKeepalive: 25,
    }],
  });
  await until(() => isConnected(site, 0), "the site has called");
});

Deno.test("rekeys lose no connection", async () => {
  await using other = await startOther();
  await using site = await startSite(other.port, () => Promise.resolve(loopback));
  await until(() => isConnected(other, 0), "the site has called");
  using listener = site.listen({ port: 80 });
  const accepting = listener.accept();
  using conn = await other.connect({ hostname: "10.9.0.2", port: 80 });
  using accepted = await accepting;
  const handshakes = new Set<number>();
  const buffer = new Uint8Array(8192);
  let sent = 0;
  // The first keys are rejected after 900 ms: long before those of the fourth handshake come.
  while (handshakes.size < 4) {
    handshakes.add(site.stats().peers[0]!.lastHandshake);
    const bytes = pattern(5000, ++sent);
    await writeAll(conn, bytes);
    for (let length = 0; length < 5000;) length += (await accepted.read(buffer.subarray(length)))!;
    assert.deepEqual(buffer.subarray(0, 5000), bytes);
  }
});

/** A gateway with two peers, 10.9.0.2 and 10.9.0.3, both connected. */
async function startHub(
  started: AsyncDisposableStack,
  peerToPeer: boolean,
  rules: readonly RuleInput[] = [],
) {
  const keys = [generatePrivateKey(), generatePrivateKey()];
  const config = {
    interface: { privateKey: encodeKey(otherKey), address: "10.9.0.1/24", peerToPeer },
    peers: keys.map((key, i) => ({
      publicKey: encodeKey(publicKeyOf(key)),
      name: `peer ${i + 2}`,
      allowedIps: `10.9.0.${i + 2}/32`,
    })),
    rules,
  };
  const hub = await startWirestack(config);
  started.use(hub);
  const start = async (i: number) =>
    started.use(
      await startWirestack({
        interface: { privateKey: encodeKey(keys[i]!), address: `10.9.0.${i + 2}/24` },
        peers: [{
          publicKey: encodeKey(publicKeyOf(otherKey)),
          allowedIps: "10.9.0.0/24",
          endpoint: `127.0.0.1:${hub.port}`,
          persistentKeepalive: 25,
        }],
      }),
    );
  const a = await start(0);
  const b = await start(1);
  await until(() => isConnected(a, 0) && isConnected(b, 0), "both are there");
  return { hub, config, a, b };
}

Deno.test("peers do not reach each other unless the gateway lets them", async () => {
  await using started = new AsyncDisposableStack();
  const { hub, a, b } = await startHub(started, false);
  using _listener = b.listen({ port: 80 });
  const stop = new AbortController();
  const connecting = assert.rejects(
    a.connect({ hostname: "10.9.0.3", port: 80, signal: stop.signal }),
  );
  await until(() => hub.stats().counters.ip!.noRoute! > 0, "the hub refuses it");
  stop.abort();
  await connecting;
});

Deno.test("rules decide between the peers of a hub, and a reload at once", async () => {
  await using started = new AsyncDisposableStack();
  const { hub, config, a, b } = await startHub(started, true, [
    { from: "peer 2", ports: "tcp/80" },
    { action: "reject" },
  ]);
  using atB = b.listen({ port: 80 });
  using _other = b.listen({ port: 81 });
  using _atA = a.listen({ port: 80 });
  const accepting = atB.accept();
  using conn = await a.connect({ hostname: "10.9.0.3", port: 80 });
  using accepted = await accepting;
  await writeAll(conn, pattern(50_000));
  await assert.rejects(
    a.connect({ hostname: "10.9.0.3", port: 81 }),
    Deno.errors.ConnectionRefused,
  );
  await assert.rejects(
    b.connect({ hostname: "10.9.0.2", port: 80 }),
    Deno.errors.ConnectionRefused,
  );
  assert.equal(hub.stats().resources.transitFlows, 1);
  // Without the rule the connection is rejected in its middle, and everything is.
  await hub.reload({ ...config, rules: [{ action: "reject" }] });
  assert.equal(hub.stats().resources.transitFlows, 0);
  await conn.closeWrite();
  await assert.rejects(readAll(conn), Deno.errors.ConnectionReset);
  await assert.rejects(
    a.connect({ hostname: "10.9.0.3", port: 80 }),
    Deno.errors.ConnectionRefused,
  );
  // Without any, nothing is looked at.
  await hub.reload({ ...config, rules: [] });
  using again = await a.connect({ hostname: "10.9.0.3", port: 81 });
  assert.equal(again.remoteAddr.port, 81);
  assert.equal(hub.stats().resources.transitFlows, 0);
  accepted[Symbol.dispose]();
});

Deno.test("two peers reach each other through a hub", async () => {
  await using started = new AsyncDisposableStack();
  const { a, b } = await startHub(started, true);
  using listener = b.listen({ port: 80 });
  const accepting = listener.accept();
  using conn = await a.connect({ hostname: "10.9.0.3", port: 80 });
  using accepted = await accepting;
  assert.equal(accepted.remoteAddr.hostname, "10.9.0.2");
  await writeAll(conn, pattern(50_000));
  await conn.closeWrite();
  assert.deepEqual(await readAll(accepted), pattern(50_000));
});
