/** `net.addLink`: this program's own packets beside WireGuard. */

import assert from "node:assert/strict";
import { generatePrivateKey, publicKeyOf } from "../../../mod.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { readAll, startPair, until } from "../pair.ts";
import { startWirestack } from "../start.ts";

/** Ties two gateways together, each by a link of its own. */
function tie(one: Wirestack, other: Wirestack, behind: readonly [string, string]) {
  const there = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  return [
    one.addLink({ readable: back.readable, writable: there.writable, prefixes: behind[0] }),
    other.addLink({ readable: there.readable, writable: back.writable, prefixes: behind[1] }),
  ] as const;
}

Deno.test("packets of streams reach what peers reach, and end with the link", async () => {
  const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = echo.addr as Deno.NetAddr;
  const served = (async () => {
    for await (const conn of echo) conn.readable.pipeTo(conn.writable).catch(() => {});
  })();
  await using pair = await startPair();
  const phone = await startWirestack({ interface: { address: "10.0.0.8/32" }, links: [] });
  const [near, far] = tie(pair.gateway, phone, ["10.0.0.8/32", "0.0.0.0/0"]);
  assert.deepEqual([near.name, far.name], ["link1", "link1"]);
  const conn = await phone.connect({ hostname: "10.50.0.1", port });
  const sent = crypto.getRandomValues(new Uint8Array(60_000));
  await conn.write(sent.subarray(0, 30_000));
  await conn.write(sent.subarray(30_000));
  await conn.closeWrite();
  assert.deepEqual(await readAll(conn), sent);
  conn.close();
  assert.ok(near.stats()!.packetsIn > 20);
  // From the gateway to what is behind the link.
  const listener = phone.listen({ port: 7 });
  const [mine, theirs] = await Promise.all([
    pair.gateway.connect({ hostname: "10.0.0.8", port: 7 }),
    listener.accept(),
  ]);
  await near.close();
  await near.closed;
  await assert.rejects(far.closed, /the link is closed/);
  await assert.rejects(mine.read(new Uint8Array(1)), Deno.errors.ConnectionAborted);
  theirs.close();
  listener.close();
  assert.equal(near.stats(), undefined);
  await until(() => pair.gateway.stats().resources.tcpConnections === 0, "nothing is left");
  await phone.close({ graceMs: 0 });
  echo.close();
  await served;
});

Deno.test("wrong uses have their line", async () => {
  const net = await startWirestack({ links: [{ name: "car", listen: "udp:127.0.0.1:0" }] });
  const streams = () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    return { readable, writable };
  };
  const given = streams();
  const link = net.addLink({ ...given, name: "phone" });
  assert.throws(() => net.addLink({ ...streams(), name: "Car" }), /name: Car is another link's/);
  assert.throws(() => net.addLink({ ...streams(), name: "a/b" }), /name: .* is no name/);
  assert.throws(() => net.addLink({ ...streams(), prefixes: "10.0.0" }), /expected a prefix/);
  assert.throws(
    () => net.addLink({ ...streams(), mtu: 100 }),
    /mtu: expected 576 to 65535, got 100/,
  );
  assert.throws(() => net.addLink(given), TypeError);
  assert.throws(() => net.addLink({} as never), /^TypeError: readable: expected a web stream/);
  assert.throws(
    () => net.addLink({ readable: streams().readable } as never),
    /^TypeError: writable: expected a web stream of packets, got undefined/,
  );
  assert.throws(
    () => net.addLink({ ...streams(), prefixes: "fd00::8/128", mtu: 1279 }),
    /mtu: expected 1280 or more for IPv6, got 1279/,
  );
  assert.deepEqual(net.stats().links.map(({ name }) => name), ["car", "phone"]);
  await link.close();
  await net.close();
  assert.throws(() => net.addLink(streams()), Deno.errors.BadResource);
});

Deno.test("a prefix has one place: what is another link's, a peer's or proxied is refused, and stays there", async () => {
  await using net = await startWirestack({
    interface: { privateKey: generatePrivateKey(), address: "10.9.0.1/24" },
    peers: [{ publicKey: publicKeyOf(generatePrivateKey()), allowedIps: "10.9.0.2/32" }],
    links: [{ name: "car", listen: "udp:127.0.0.1:0", prefixes: "10.0.0.7/32" }],
    proxy: { subnets: "10.50.0.0/16" },
  });
  const streams = () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    return { readable, writable };
  };
  const link = net.addLink({ ...streams(), prefixes: "10.0.0.8/32", nat: "10.0.0.8" });
  for (
    const [options, message] of [
      [{ prefixes: "10.0.0.8/32" }, "prefixes: 10.0.0.8/32 is a link's already, expected it once"],
      [
        { prefixes: "10.1.0.0/16,10.0.0.7/32" },
        "prefixes: 10.0.0.7/32 is a link's already, expected it once",
      ],
      [{ nat: "10.0.0.8" }, "nat: 10.0.0.8 is a link's already, expected it once"],
      [{ prefixes: "10.9.0.2/32" }, "prefixes: 10.9.0.2/32 is a peer's already, expected it once"],
      [{ prefixes: "10.50.0.0/16" }, "prefixes: 10.50.0.0/16 is proxied already, expected it once"],
    ] as const
  ) {
    const given = streams();
    assert.throws(() => net.addLink({ ...given, ...options }), { name: "TypeError", message });
    assert.equal(given.readable.locked || given.writable.locked, false, "the streams stay free");
  }
  await link.close();
  const again = net.addLink({ ...streams(), prefixes: "10.0.0.8/32" });
  await again.close();
});

Deno.test("closing the gateway ends its links", async () => {
  const net = await startWirestack({ links: [] });
  const come = new TransformStream<Uint8Array, Uint8Array>();
  const go = new TransformStream<Uint8Array, Uint8Array>();
  const link = net.addLink({ readable: come.readable, writable: go.writable });
  await net.close();
  assert.equal((await go.readable.getReader().read()).done, true);
  await link.closed;
});
