import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ConfigError } from "../../../proxy/config/config.ts";
import { SITE, until } from "../pair.ts";
import { hashOf, startChangeable } from "./change_site.ts";

const BYTES = 8 << 20;
/** Something is changed whenever so many bytes have moved: sixty times in all. */
const STEP = 2 * BYTES / 60;

/** Bytes that do not repeat, and their hash. */
function payload(length: number) {
  const bytes = new Uint8Array(length);
  let state = 1;
  for (let i = 0; i < length; i++) {
    state = Math.imul(state, 1103515245) + 12345 | 0;
    bytes[i] = state >>> 16;
  }
  return { bytes, hash: createHash("sha256").update(bytes).digest("hex") };
}

/** Sends everybody `bytes` and the end, or nothing, and hashes what it gets until its end. */
function server(bytes?: Uint8Array) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const received: Promise<string>[] = [];
  (async () => {
    for await (const conn of listener) {
      const hash = hashOf(conn);
      hash.catch(() => {}); // some are reset
      received.push(hash);
      if (bytes === undefined) continue;
      (async () => {
        for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
        await conn.closeWrite();
      })().catch(() => {});
    }
  })();
  return { port: listener.addr.port, received, [Symbol.dispose]: () => listener.close() };
}

Deno.test("sixty changes and reloads during a download and an upload: no byte is lost, and what they name changes", async () => {
  await using site = await startChangeable();
  const { gateway, client, config } = site;
  const { bytes, hash } = payload(BYTES);
  using target = server(bytes);
  using silent = server();
  using conn = await client.connect({ hostname: SITE, port: target.port });
  using idle = await client.connect({ hostname: SITE, port: silent.port });
  using other = await client.connect({ hostname: "10.50.0.2", port: silent.port });

  let changes = 0;
  const reloads: Promise<unknown>[] = [];
  const change = () => {
    const seconds = 1 + changes % 7;
    if (changes % 10 === 9) {
      const proxy = { ...config.proxy, tcpDialTimeout: seconds, maxDials: 100 + changes };
      reloads.push(gateway.reload({ ...config, proxy }));
    } else {
      gateway.set({
        proxy: { tcpDialTimeout: seconds, udpIdleTimeout: 10 + seconds, maxDials: 100 + changes },
        rules: {
          2: { maxConnections: 1_000 + changes },
          1: { ports: `tcp/1-${10_000 + changes}` },
        },
        peers: { laptop: { persistentKeepalive: 20 + seconds } },
      });
    }
    changes++;
  };
  let moved = 0;
  const onBytes = (count: number) => {
    moved += count;
    while (changes < 60 && moved >= (changes + 1) * STEP) change();
  };
  const upload = (async () => {
    for (let at = 0; at < BYTES;) {
      const length = await conn.write(bytes.subarray(at, at + 65536));
      at += length;
      onBytes(length);
    }
    await conn.closeWrite();
  })();
  assert.equal(await hashOf(conn, onBytes), hash, "the download");
  await upload;
  assert.equal(await target.received[0], hash, "the upload");
  await Promise.all(reloads);
  assert.ok(changes >= 58, `${changes} changes`);

  // The idle one has gone on; the one whose rule is about other ports now is nobody's.
  gateway.set({ rules: { 1: { ports: "tcp/1" } } });
  await idle.write(new Uint8Array(3));
  await until(() => gateway.flows().length === 2, "the transfers' connection is over");
  const flows = gateway.flows("laptop");
  assert.deepEqual(flows.map(({ destination, rule }) => [destination, rule]), [
    [`${SITE}:${silent.port}`, 2],
    [`10.50.0.2:${silent.port}`, null],
  ]);
  await other.write(new Uint8Array(3));
  gateway.set({ proxy: { default: "reject" } });
  await assert.rejects(other.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  assert.deepEqual(gateway.flows().map(({ rule }) => rule), [2]);
  gateway.set({ rules: { 2: { action: "drop", maxConnections: null } } });
  await assert.rejects(idle.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  assert.equal(gateway.flows().length, 0);
});

Deno.test("set takes the names of an object, and says what is wrong with them by these", async () => {
  await using site = await startChangeable();
  const { gateway } = site;
  assert.deepEqual(gateway.set({ proxy: { tcpDialTimeout: 2, maxDials: undefined as never } }), {
    changes: ["proxy.tcpDialTimeout: default -> 2"],
    warnings: [],
  });
  assert.deepEqual(gateway.set({}), { changes: [], warnings: [] });
  const wrong = (settings: object, ...problems: string[]) =>
    assert.throws(() => gateway.set(settings), (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, problems.length, error.message);
      problems.forEach((problem, i) => assert.ok(error.problems[i]!.startsWith(problem), problem));
      return true;
    });
  wrong({ proxi: {} }, "proxi: unknown, did you mean proxy?");
  wrong({ proxy: 5 }, "proxy: is no object, expected one with its keys");
  wrong(
    { proxy: { tcpDialTimeout: -1, maxDial: 5 }, rules: { 9: { rate: null } } },
    "proxy.maxDial: unknown, did you mean maxDials?",
    "rules.9.rate: there is no rule 9, expected 1 to 2",
    "proxy.tcpDialTimeout: ",
  );
  wrong({ peers: { phone: { name: "x" } } }, 'peers.phone.name: there is no peer "phone"');
  wrong({ interface: { mtu: 1300 } }, "interface.mtu: cannot change while running");
  gateway.set({ peers: { laptop: { name: "tablet" } } });
  assert.equal(gateway.stats().peers[0]!.name, "tablet");
  const { changes } = await gateway.reload(site.config);
  assert.ok(changes.includes("TcpDialTimeout: 2 -> default"), changes.join("; "));
});

Deno.test("a peer that a rule names keeps its name: the rule would be about nobody", async () => {
  await using site = await startChangeable();
  const { gateway, client, config } = site;
  await gateway.reload({ ...config, rules: [{ from: ["10.9.0.9", "Laptop"], action: "reject" }] });
  const refused = (change: () => void, label: string) =>
    assert.throws(change, {
      name: "ConfigError",
      message: `${label}: rule 1 is about laptop, expected another From of it first, ` +
        "or both changed in the configuration, and a reload",
    });
  refused(() => gateway.set({ peers: { laptop: { name: "phone" } } }), "peers.laptop.name");
  refused(() => gateway.set({ peers: { laptop: { name: null } } }), "peers.laptop.name");
  refused(() => gateway.updatePeer(client.publicKey, { name: "phone" }), "peer.name");
  gateway.set({ peers: { laptop: { name: "LAPTOP" } } }); // names have no case
  gateway.set({ rules: { 1: { from: "10.9.0.2" } } });
  gateway.set({ peers: { laptop: { name: "phone" } } });
  gateway.set({ rules: { 1: { from: "phone" } } });
  assert.equal(gateway.stats().peers[0]!.name, "phone");
});

Deno.test("a timeout that is set holds for what is under way", async () => {
  await using site = await startChangeable();
  const { gateway, client } = site;
  using silent = server(new Uint8Array(0));
  using socket = client.listenDatagram();
  const to = { transport: "udp", hostname: SITE, port: silent.port } as const;
  await socket.send(new Uint8Array(1), to);
  await until(() => gateway.flows().length === 1, "the session is open");
  gateway.set({ proxy: { udpIdleTimeout: 0.1 } });
  await until(() => gateway.flows().length === 0, "it has been idle for too long");

  using conn = await client.connect({ hostname: SITE, port: silent.port });
  await conn.read(new Uint8Array(1)); // the target has ended its side
  assert.equal(gateway.flows()[0]!.state, "half-closed");
  gateway.set({ proxy: { tcpHalfCloseTimeout: 0.1 } });
  await until(() => gateway.flows().length === 0, "it was half-closed for too long");
});
