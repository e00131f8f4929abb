import assert from "node:assert/strict";
import type { GatewayStats } from "../../../proxy/gateway/gateway.ts";
import { udpUnavailable } from "../../../ffi/mod.ts";
import { readAll, SITE, startPair, until } from "../pair.ts";

Deno.test("stats has what flows did, by peer, by rule and by network of targets, and how fast", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  (async () => {
    for await (const conn of listener) conn.readable.pipeTo(conn.writable).catch(() => {});
  })();
  const ffi = udpUnavailable() === undefined;
  await using pair = await startPair({ gateway: { ffi } });
  await pair.gateway.reload({
    interface: {
      privateKey: pair.gatewayKey,
      address: ["10.9.0.1/24", "fd09::1/64"],
      listenPort: pair.gateway.port,
    },
    peers: pair.gateway.stats().peers.map(({ publicKey, allowedIps }) => ({
      publicKey,
      allowedIps,
      presharedKey: pair.presharedKey,
    })),
    rules: [{ ports: "udp" }, { ports: `tcp/${port}` }, { action: "reject" }],
    proxy: { subnets: "10.50.0.0/16", map: `${SITE} -> 127.0.0.1` },
  });
  const conn = await pair.client.connect({ hostname: SITE, port });
  await conn.write(new Uint8Array(5000));
  await conn.closeWrite();
  assert.equal((await readAll(conn)).length, 5000);
  conn.close();
  await assert.rejects(pair.client.connect({ hostname: SITE, port: 9 }));
  await until(() => pair.gateway.stats().flows.total.live === 0, "the connection is over");

  const stats: GatewayStats = pair.gateway.stats();
  const { total, tcp, udp, dialTimes, roundTrips, targetRoundTrips, rules, networks } = stats.flows;
  const { flows, refused, bytesUp, bytesDown, packetsUp, packetsDown, dial, rtt } = total;
  assert.deepEqual([flows, bytesUp, bytesDown], [1, 5000, 5000]);
  assert.ok(refused > 0); // a client that got no answer in time has asked again
  assert.ok(packetsUp > 5 && packetsDown > 5);
  assert.deepEqual([dial.count, dialTimes.count], [1, 1]);
  // Once when it ended, and in each minute before.
  assert.ok(rtt.count >= 1 && rtt.count === roundTrips.count, `${rtt.count}`);
  // To the target as well, with everybody that the connection counts with.
  const of = [total, stats.peers[0]!.flows!, rules[1]!, networks[0]!].map((each) => each.targetRtt);
  for (const { count, meanMs } of of) {
    assert.equal(count, targetRoundTrips.count);
    if (ffi) assert.ok(count >= 1 && meanMs! > 0 && meanMs! < 10_000, `${count} of ${meanMs} ms`);
  }
  assert.ok(dial.meanMs! > 0 && dial.meanMs === dial.maxMs);
  assert.equal(dialTimes.buckets.at(-1)!.count, 1);
  assert.deepEqual(tcp, { begun: 1, ended: { closed: 1 }, refused: { rejected: refused } });
  assert.deepEqual(udp, { begun: 0, ended: {}, refused: {} });
  assert.deepEqual(
    rules.map(({ number, action, flows, refused, bytesUp }) => [
      ...[number, action, flows, refused, bytesUp],
    ]),
    [[1, "allow", 0, 0, 0], [2, "allow", 1, 0, 5000], [3, "reject", 0, refused, 0]],
  );
  assert.deepEqual(networks.map(({ prefix, bytesDown }) => [prefix, bytesDown]), [
    ["127.0.0.0/24", 5000],
  ]);
  assert.deepEqual(stats.peers.map(({ flows }) => flows?.bytesUp), [5000]);
  assert.deepEqual(pair.client.stats().peers.map(({ flows }) => flows), [null]);
  assert.deepEqual(JSON.parse(JSON.stringify(stats)), stats, "plain values");

  // Field by field: what is not counted is no field.
  // @ts-expect-error -- no such counter
  assert.equal(stats.counters.tcpForwarder.noSuchCounter, undefined);
  // @ts-expect-error -- no such resource
  assert.equal(stats.resources.noSuchResource, undefined);
  const connected: number = stats.counters.tcpForwarder.connected;
  assert.equal(connected, 1);
  listener.close();
});

/** Where the types of `stats()` and of flows are. */
const TYPES = [
  ...["stats", "stats_counters", "stats_flows", "stats_links", "stats_peers", "flow_stats"]
    .map((name) => `gateway/${name}`),
  ...["totals", "rates", "histogram"].map((name) => `flow/${name}`),
];

Deno.test("every field of what stats() gives says what it is, and one that is a time or a size in what", async () => {
  let fields = 0;
  for (const name of TYPES) {
    const text = await Deno.readTextFile(new URL(`../../../proxy/${name}.ts`, import.meta.url));
    const interfaces = text.matchAll(
      /^export interface (\w+(?:Stats|Counters))\b[^{]*\{\n(.*?)^\}/gms,
    );
    for (const [, type, body] of interfaces) {
      const lines = body!.split("\n");
      lines.forEach((line, i) => {
        const field = /^ {2}readonly (\w+)\??: (.*)/.exec(line);
        if (field === null) return;
        fields++;
        const what = `${type}.${field[1]}`;
        assert.match(lines[i - 1] ?? "", /\*\/$/, what);
        const isTime = /(?:uptime|duration|rtt|age|idle|delay)$/i.test(field[1]!);
        assert.ok(!(isTime && field[2]!.startsWith("number")), `${what}: in what?`);
      });
    }
  }
  assert.ok(fields > 80, `${fields} fields are seen`);
});
