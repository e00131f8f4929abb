import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import type { ConfigInput, RuleInput } from "../../../proxy/config/config.ts";
import { captureLog } from "../log/capture.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { encodeProxyHeader } from "../../../proxy/target/proxy_protocol.ts";
import { SITE, startPair, until } from "../pair.ts";
import { ownTcpPort } from "../own_port.ts";
import { startWirestack } from "../start.ts";
import { NameServer, zone } from "../target/name_server.ts";

Deno.test("a reload makes and closes the connections that rules keep ready, and leaves those that stay", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.Conn>();
  let accepted = 0;
  const serving = (async () => {
    for await (const conn of listener) {
      accepted++;
      open.add(conn);
      conn.read(new Uint8Array(1)).catch(() => null).then(() => {
        open.delete(conn);
        conn.close();
      });
    }
  })();
  const privateKey = encodeKey(generatePrivateKey());
  const config = (warmConnections: number, other: RuleInput = {}): ConfigInput => ({
    interface: { privateKey, address: "10.9.0.1/24" },
    rules: [
      { ports: "udp/53", ...other },
      { to: "10.50.0.1", rewrite: `127.0.0.1:${listener.addr.port}`, warmConnections },
    ],
    proxy: { subnets: "10.50.0.0/16" },
  });
  const gateway = await startWirestack(config(3));
  await until(() => open.size === 3, "three are ready");
  await gateway.reload(config(3, { action: "reject" }));
  await gateway.reload(config(5));
  await until(() => open.size === 5, "five are");
  assert.equal(accepted, 5, "the three stayed");
  assert.equal(gateway.stats().resources.warmConnections, 5);
  await gateway.reload(config(1));
  await until(() => open.size === 1, "one is left");
  await gateway.reload(config(0));
  await until(() => open.size === 0, "none is");
  await gateway.reload(config(2));
  await until(() => open.size === 2, "two are again");
  await gateway.close({ graceMs: 0 });
  await until(() => open.size === 0, "none is left by the gateway");
  listener.close();
  await serving;
});

/** Echoes on a port of its own, until it dies with all that it has accepted. */
class Target {
  readonly #conns: Deno.Conn[] = [];
  readonly #listener: Deno.TcpListener;

  constructor(port = 0) {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port });
    this.#serve();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  die(): void {
    this.#listener.close();
    for (const conn of this.#conns) {
      try {
        conn.close();
      } catch { /* it was over */ }
    }
  }

  async #serve(): Promise<void> {
    for await (const conn of this.#listener) {
      this.#conns.push(conn);
      conn.readable.pipeTo(conn.writable).catch(() => {});
    }
  }
}

Deno.test("clients of a target that keeps warm connections are not harmed by its death, and have it back at once", async () => {
  const targets = [new Target(ownTcpPort())];
  const { port } = targets[0]!;
  await using pair = await startPair({
    sections: { rules: [{ to: SITE, rewrite: `127.0.0.1:${port}`, warmConnections: 4 }] },
    proxy: { map: [] },
  });
  const warm = () => pair.gateway.stats().resources.warmConnections;
  const isEchoed = async () => {
    using conn = await pair.client.connect({ hostname: SITE, port: 80 });
    await conn.write(new Uint8Array(100));
    for (let got = 0; got < 100;) {
      const read = await conn.read(new Uint8Array(100));
      if (read === null) return false;
      got += read;
    }
    return true;
  };
  try {
    for (let death = 0; death < 3; death++) {
      await until(() => warm() === 4, "four are ready");
      assert.ok((await Promise.all(Array.from({ length: 12 }, isEchoed))).every(Boolean));
      targets.at(-1)!.die();
      // Those that are ready lead nowhere: each client is refused as it would be without them.
      await Promise.all(
        Array.from({ length: 8 }, () => assert.rejects(isEchoed(), Deno.errors.ConnectionRefused)),
      );
      assert.ok(warm() <= 4);
      targets.push(new Target(port));
      // While the next attempt is waited for, flows dial for themselves.
      assert.ok((await Promise.all(Array.from({ length: 12 }, isEchoed))).every(Boolean));
    }
  } finally {
    targets.at(-1)!.die();
  }
});

Deno.test("a name server that lies opens nothing of this host, is told of once, and is not asked each time", async () => {
  using log = captureLog();
  using secret = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using liar = new NameServer(zone({ "web.test": ["127.0.0.1", "::1"] }));
  const rules = [{ to: "10.50.0.9", rewrite: "web.test" }];
  const { port } = secret.addr;
  await using pair = await startPair({
    sections: { rules },
    proxy: { subnets: ["10.50.0.0/16"], resolver: `127.0.0.1:${liar.port}`, tcpDialTimeout: 30 },
  });
  for (let i = 0; i < 3; i++) {
    await assert.rejects(pair.client.connect({ hostname: "10.50.0.9", port }));
  }
  assert.equal(log.lines.filter((line) => line.includes("is refused")).length, 1);
  assert.ok(pair.gateway.stats().counters.target!.refusedAddresses! >= 6);
  // What the configuration names is another matter.
  using conn = await pair.client.connect({ hostname: SITE, port });
  assert.equal(conn.remoteAddr.port, port);
  (await secret.accept()).close();
  assert.deepEqual(liar.asked.toSorted(), ["A web.test", "AAAA web.test"]);
});

/** By family: the client's address, what it asks for, and where the target is. */
const DATAGRAMS = [
  ["10.9.0.2", "10.50.0.9", "127.0.0.1", "127.0.0.1"],
  ["fd09::2", "fd50::9", "::1", "[::1]"],
] as const;

for (const [source, asked, hostname, place] of DATAGRAMS) {
  Deno.test(`with version 2 a UDP target gets the header before each datagram to ${asked}, and the client none`, async () => {
    const target = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    const { port } = target.addr as Deno.NetAddr;
    await using pair = await startPair({
      sections: {
        rules: [{
          to: asked,
          ports: "udp/5000",
          rewrite: `${place}:${port}`,
          sendProxyProtocol: "v2",
        }],
      },
    });
    using client = pair.client.listenDatagram({ hostname: source, port: 4_000 });
    const header = encodeProxyHeader("v2", "udp", {
      source: parseIpAddress(source)!,
      sourcePort: 4_000,
      destination: parseIpAddress(asked)!,
      destinationPort: 5_000,
    });
    for (const byte of [1, 2]) {
      await client.send(Uint8Array.of(byte), { transport: "udp", hostname: asked, port: 5_000 });
      const [datagram, from] = await target.receive();
      assert.deepEqual(datagram, Uint8Array.of(...header, byte));
      await target.send(Uint8Array.of(byte + 10), from);
      const [answer, sender] = await client.receive();
      assert.deepEqual(answer, Uint8Array.of(byte + 10));
      assert.deepEqual([sender.hostname, sender.port], [asked, 5_000]);
    }
    target.close();
  });
}
