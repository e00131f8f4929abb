import assert from "node:assert/strict";
import { Wirestack } from "../../../mod.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { SettingError } from "../../../proxy/config/error.ts";
import { StatusServer } from "../../../proxy/watch/status.ts";
import { Gateway } from "../../../proxy/gateway/gateway.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { readToken } from "../../../proxy/watch/token_file.ts";
import { HTTP_LIMITS } from "../../../proxy/watch/http_server.ts";
import { UdpPath } from "../udp_path.ts";
import { VERSION } from "../../../proxy/version.ts";
import { pattern, readAll, SITE, startPair, until, writeAll } from "../pair.ts";

const KEY = encodeKey(generatePrivateKey());
const LIMITS = { ...HTTP_LIMITS, connections: 8 };

interface Raw {
  readonly head: string;
  readonly body: string;
}

/** Sends bytes as they are. @returns the answer, until the server ends it. */
async function raw(port: number, text: string): Promise<Raw> {
  using conn = await Deno.connect({ port });
  await writeAll(conn, new TextEncoder().encode(text));
  const answer = new TextDecoder().decode(await readAll(conn));
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  return { head, body };
}

function get(port: number, path: string, ...headers: string[]): Promise<Raw> {
  const lines = headers.length > 0 ? headers : ["Host: localhost"];
  const all = [`GET ${path} HTTP/1.1`, ...lines, "Connection: close", "", ""];
  return raw(port, all.join("\r\n"));
}

/** The value of a sample. */
function sample(text: string, name: string): number {
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  assert.ok(line !== undefined, name);
  return Number(line.slice(name.length + 1));
}

function listener(text: string, limits = LIMITS) {
  const { config } = loadConfig(`[Interface]\nPrivateKey = ${KEY}\n[Status]\n${text}\n`);
  return StatusServer.open(config.status!, limits);
}

Deno.test("an embedder's gateway is asked as one from the command line: what it carried is counted", async () => {
  await using pair = await startPair({ sections: { status: { listen: "127.0.0.1:0" } } });
  const port = pair.gateway.statusPort!;
  using site = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conn = await pair.client.connect({ hostname: SITE, port: site.addr.port });
  const served = await site.accept();
  await writeAll(conn, pattern(70_000));
  await conn.closeWrite();
  assert.equal((await readAll(served)).length, 70_000);
  const during = (await get(port, "/metrics")).body;
  assert.equal(sample(during, 'wirestack_flow_bytes_total{direction="up"}'), 70_000);
  assert.equal(sample(during, 'wirestack_flows{protocol="tcp"}'), 1);
  await writeAll(served, pattern(5_000));
  served.close();
  await readAll(conn);
  conn.close();
  await until(() => pair.gateway.stats().resources.tcpRelays === 0, "the connection has ended");
  await new Promise((resolve) => setTimeout(resolve, 150)); // an answer is reused for 100 ms
  const { head, body } = await get(port, "/metrics");
  assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(head, /Content-Type: text\/plain; version=0\.0\.4; charset=utf-8\r\n/i);
  assert.equal(sample(body, 'wirestack_flow_bytes_total{direction="down"}'), 5_000);
  assert.equal(sample(body, 'wirestack_flows_ended_total{protocol="tcp",ending="closed"}'), 1);
  assert.equal(sample(body, 'wirestack_flows_total{protocol="tcp",verdict="allowed"}'), 1);
  assert.equal(sample(body, "wirestack_dial_duration_seconds_count"), 1);
  assert.equal(sample(body, 'wirestack_handshakes_total{result="complete"}'), 1);
  const [peer] = pair.gateway.stats().peers;
  assert.ok(
    sample(body, `wirestack_peer_receive_bytes_total{peer="${peer!.publicKey}"}`) > 70_000,
  );
  assert.equal(JSON.parse((await get(port, "/healthz")).body).status, "ok");
  const ready = await get(port, "/readyz");
  assert.match(ready.head, /^HTTP\/1\.1 200 /);
  assert.equal(JSON.parse(ready.body).listenPort, pair.gateway.port);
});

Deno.test("a peer's and a rule's figures, and a rate beside its limit", async () => {
  await using pair = await startPair({
    sections: {
      status: { listen: "127.0.0.1:0" },
      rules: [
        { ports: "tcp/1", action: "reject" },
        { to: `${SITE}/32`, action: "allow", rate: "100Mbit" },
      ],
    },
  });
  using site = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conn = await pair.client.connect({ hostname: SITE, port: site.addr.port });
  using served = await site.accept();
  await writeAll(conn, pattern(2_000));
  await conn.closeWrite();
  assert.equal((await readAll(served)).length, 2_000);
  await assert.rejects(pair.client.connect({ hostname: SITE, port: 1 }));
  const [peer] = pair.gateway.stats().peers;
  pair.gateway.updatePeer(peer!.publicKey, { name: "laptop", rateDown: "8Mbit" });
  const { body } = await get(pair.gateway.statusPort!, "/metrics");
  for (
    const [name, value] of [
      ['wirestack_peer_flow_bytes_total{peer="laptop",direction="up"}', 2_000],
      ['wirestack_peer_flows{peer="laptop"}', 1],
      ['wirestack_peer_rate_limit_bytes_per_second{peer="laptop",direction="down"}', 1_000_000],
      ['wirestack_rule_flows_total{rule="1",verdict="refused"}', 1],
      ['wirestack_rule_flows_total{rule="2",verdict="allowed"}', 1],
      ['wirestack_rule_flow_bytes_total{rule="2",direction="up"}', 2_000],
      ['wirestack_flows_total{protocol="tcp",verdict="rejected"}', 1],
    ] as const
  ) assert.equal(sample(body, name), value, name);
  assert.ok(
    sample(body, 'wirestack_peer_rate_bytes_per_second{peer="laptop",direction="down"}') >= 0,
  );
  assert.ok(!body.includes('limit_bytes_per_second{peer="laptop",direction="up"}'), "it has none");
  conn.close();
});

Deno.test("what is lost, dropped, held and late has its value, beside its limit", async () => {
  let path: UdpPath | undefined;
  await using pair = await startPair({
    sections: {
      status: { listen: "127.0.0.1:0" },
      rules: [{ ports: "udp", action: "reject" }],
    },
    proxy: { maxBufferMemory: "64M", maxTcpConnections: 321, maxUdpSessions: 123, maxDials: 45 },
    through(port) {
      path = new UdpPath(port);
      return path.port;
    },
  });
  using between = path!;
  using site = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using conn = await pair.client.connect({ hostname: SITE, port: site.addr.port });
  using served = await site.accept();
  // Held, for nobody reads it yet; a datagram that is refused; and a loop that is late.
  const held = writeAll(served, pattern(8 << 20)).catch(() => {});
  using socket = pair.client.listenDatagram({ port: 0 });
  const { counters } = pair.gateway.stats();
  assert.equal(counters.udpForwarder.forbidden, 0);
  await socket.send(new Uint8Array(5), { transport: "udp", hostname: SITE, port: 9 });
  await until(() => pair.gateway.stats().counters.udpForwarder.forbidden === 1, "it is refused");
  const since = performance.now();
  while (performance.now() - since < 1_200); // the timer for the loop's delay is due meanwhile
  [between.swaps, between.losesOneOf] = [true, 20];
  const upload = writeAll(conn, pattern(300_000));
  const buffer = new Uint8Array(65_536);
  for (let got = 0; got < 300_000;) got += (await served.read(buffer))!;
  await upload;
  for (let got = 0; got < 200_000;) got += (await conn.read(buffer))!;
  await until(() => pair.gateway.stats().counters.tcp.retransmits > 0, "something is sent again");
  let { body } = await get(pair.gateway.statusPort!, "/metrics");
  while (sample(body, "wirestack_event_loop_delay_seconds_sum") < 0.5) { // asked twice a second
    await new Promise((resolve) => setTimeout(resolve, 110)); // an answer is reused for 100 ms
    ({ body } = await get(pair.gateway.statusPort!, "/metrics"));
  }
  const at = (name: string) => sample(body, name);
  assert.ok(at("wirestack_tcp_retransmits_total") > 0);
  assert.ok(at("wirestack_tcp_out_of_order_total") > 0);
  assert.equal(at('wirestack_drops_total{layer="udp_forwarder",reason="forbidden"}'), 1);
  const [used, limit] = [at("wirestack_buffer_bytes"), at("wirestack_buffer_limit_bytes")];
  assert.equal(limit, 64 << 20);
  assert.ok(used > 50_000 && used < limit, `${used}`);
  assert.ok(at("wirestack_transmit_slots") > 0);
  assert.ok(at("wirestack_transmit_slots_used") <= at("wirestack_transmit_slots"));
  assert.equal(at('wirestack_limited_used{resource="tcp_connections"}'), 1);
  assert.equal(at('wirestack_limited_limit{resource="tcp_connections"}'), 321);
  assert.equal(at('wirestack_limited_limit{resource="udp_sessions"}'), 123);
  assert.equal(at('wirestack_limited_limit{resource="dials"}'), 45);
  const build = /wirestack_build_info\{version="([^"]+)",deno="([^"]+)",ffi="(true|false)"\} 1\n/
    .exec(body);
  assert.deepEqual(build?.slice(1, 3), [VERSION, Deno.version.deno]);
  conn.close();
  served.close();
  await held;
});

Deno.test("of a thousand rules a hundred have series of their own, and the rest are one", async () => {
  const rules = Array.from({ length: 1_000 }, (_, i) => ({ ports: `tcp/${i + 1}` }));
  await using gateway = await Wirestack.start({
    interface: { privateKey: KEY },
    rules,
    proxy: { subnets: "10.50.0.0/16" },
    status: { listen: "127.0.0.1:0" },
  }, { ffi: false });
  const { body } = await get(gateway.statusPort!, "/metrics");
  for (const family of ["wirestack_rule_flows_total", "wirestack_rule_flow_bytes_total"]) {
    const labels = body.split("\n").filter((line) => line.startsWith(`${family}{`))
      .map((line) => /rule="([^"]+)"/.exec(line)![1]);
    assert.equal(labels.length, 2 * 101, family);
    assert.equal(new Set(labels).size, 101);
    assert.ok(labels.includes("(others)"));
  }
});

Deno.test("a status listener that is asked for and not placed is on this host's port 9586", () => {
  const { config } = loadConfig(`[Interface]\nPrivateKey = ${KEY}\n[Status]\nMaxPeers = 7\n`);
  assert.deepEqual(config.status!.listen, {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 9_586,
  });
  assert.equal(loadConfig(`[Interface]\nPrivateKey = ${KEY}\n`).config.status, undefined);
});

Deno.test("a peer never reaches the listener, though a map leads to this host's loopback", async () => {
  await using pair = await startPair({ sections: { status: { listen: "localhost:0" } } });
  await assert.rejects(
    pair.client.connect({ hostname: SITE, port: pair.gateway.statusPort! }),
    Deno.errors.ConnectionRefused,
  );
  const { body } = await get(pair.gateway.statusPort!, "/metrics");
  assert.equal(sample(body, 'wirestack_flows_total{protocol="tcp",verdict="own-listener"}'), 1);
});

Deno.test("a gateway that waits for a peer is alive and not ready", async () => {
  await using gateway = await Wirestack.start({
    interface: { privateKey: KEY },
    peers: [{
      name: "laptop",
      publicKey: encodeKey(publicKeyOf(generatePrivateKey())),
      endpoint: "127.0.0.1:9",
      persistentKeepalive: 25,
    }],
    status: { listen: "127.0.0.1:0" },
  }, { ffi: false });
  const { head, body } = await get(gateway.statusPort!, "/readyz");
  assert.match(head, /^HTTP\/1\.1 503 /);
  assert.equal(JSON.parse(body).reason, "no handshake in 180 s with laptop");
  assert.match((await get(gateway.statusPort!, "/healthz")).head, /^HTTP\/1\.1 200 /);
  assert.equal(gateway.closed instanceof Promise, true);
});

Deno.test("who may not ask is told so before any path is looked at", async () => {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "0123456789abcdef");
  const server = await listener(
    `Listen = 127.0.0.1:0\nTokenFile = ${file}\nAllowedHosts = gw.test`,
  );
  const { port } = server;
  try {
    const status = async (path: string, ...headers: string[]) =>
      (await get(port, path, ...headers)).head.split(" ")[1];
    const bearer = "Authorization: Bearer 0123456789abcdef";
    assert.equal(await status("/metrics", "Host: evil.test", bearer), "421");
    assert.equal(await status("/nowhere", "Host: evil.test"), "421");
    assert.equal(await status("/nowhere", "Host: gw.test"), "401");
    assert.equal(await status("/metrics?token=0123456789abcdef", "Host: gw.test"), "401");
    assert.equal(await status("/nowhere", "Host: gw.test", bearer), "404");
    assert.equal(await status("/metrics", "Host: gw.test", bearer), "503", "it is being started");
    assert.equal(await status("/readyz", "Host: gw.test", bearer), "503");
    assert.equal(await status("/healthz", "Host: gw.test", bearer), "200");
    assert.equal(await status("http://gw.test/healthz", "Host: evil.test", bearer), "200");
    assert.equal(await status("http://evil.test/healthz", "Host: gw.test", bearer), "421");
    const refused = await get(port, "/metrics", "Host: 127.0.0.1");
    assert.match(refused.head, /WWW-Authenticate: Bearer/i);
    assert.match(refused.head, /Connection: close/i);
    const post = await raw(port, `POST /metrics HTTP/1.1\r\nHost: gw.test\r\n${bearer}\r\n\r\n`);
    assert.match(post.head, /^HTTP\/1\.1 405 /);
    assert.match(
      (await raw(
        port,
        `HEAD /healthz HTTP/1.1\r\nHost: gw.test\r\n${bearer}\r\nConnection: close\r\n\r\n`,
      )).head,
      /^HTTP\/1\.1 200 /,
    );

    // A reload reads the token again, and a wrong one changes nothing.
    await Deno.writeTextFile(file, "fedcba9876543210");
    const { config } = loadConfig(
      `[Interface]\nPrivateKey = ${KEY}\n[Status]\nListen = 127.0.0.1:0\nTokenFile = ${file}\n`,
    );
    server.apply(config.status!);
    assert.equal(await status("/healthz", "Host: localhost", bearer), "401");
    const next = "Authorization: Bearer fedcba9876543210";
    assert.equal(await status("/healthz", "Host: localhost", next), "200");
    assert.equal(await status("/healthz", "Host: gw.test", next), "421");
    await Deno.writeTextFile(file, "short");
    assert.throws(() => server.apply(config.status!), SettingError);
    assert.equal(await status("/healthz", "Host: localhost", next), "200");

    // A trial changes nothing, and what is wrong with the token alone does not keep the rest back.
    await Deno.writeTextFile(file, "0123456789abcdef");
    const wider = { ...config.status!, allowedHosts: ["wider.test"] };
    server.apply(wider, true);
    assert.equal(await status("/healthz", "Host: wider.test", next), "421");
    assert.equal(await status("/healthz", "Host: localhost", next), "200");
    await Deno.writeTextFile(file, "short");
    assert.throws(() => server.apply(wider), SettingError);
    assert.equal(await status("/healthz", "Host: wider.test", next), "200");

    // Which of two names was asked for is not for us to choose.
    assert.equal(await status("/healthz", "Host: localhost", "Host: evil.test", next), "421");
  } finally {
    server.close();
    await Deno.remove(file);
  }
});

Deno.test("slow clients make room for others, and are gone when their time is over", async () => {
  const server = await listener("Listen = 127.0.0.1:0", { ...LIMITS, headMs: 2_000 });
  try {
    const slow = await Promise.all(Array.from({ length: 100 }, async () => {
      const conn = await Deno.connect({ port: server.port });
      await writeAll(conn, new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: loc"));
      return conn;
    }));
    for (let i = 0; i < 20; i++) {
      assert.match((await get(server.port, "/healthz")).head, /^HTTP\/1\.1 200 /);
    }
    const ends = slow.map((conn) => readAll(conn).then(() => {}, () => {}));
    await Promise.all(ends);
    for (const conn of slow) conn.close();
  } finally {
    server.close();
  }
});

Deno.test("a connection that is used stays while slow ones come and go", async () => {
  const server = await listener("Listen = 127.0.0.1:0");
  const buffer = new Uint8Array(4096);
  try {
    using used = await Deno.connect({ port: server.port });
    const ask = async () => {
      await writeAll(
        used,
        new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
      );
      const length = await used.read(buffer);
      return new TextDecoder().decode(buffer.subarray(0, length ?? 0));
    };
    assert.match(await ask(), /^HTTP\/1\.1 200 /);
    const slow = await Promise.all(
      Array.from({ length: 50 }, () => Deno.connect({ port: server.port })),
    );
    assert.match(await ask(), /^HTTP\/1\.1 200 /);
    for (const conn of slow) conn.close();
  } finally {
    server.close();
  }
});

Deno.test("a huge head is refused, and so is garbage", async () => {
  const server = await listener("Listen = 127.0.0.1:0");
  try {
    const huge = `GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`;
    assert.match((await raw(server.port, huge)).head, /^HTTP\/1\.1 431 /);
    const path = `GET /${"x".repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    assert.match((await raw(server.port, path)).head, /^HTTP\/1\.1 431 /);
    assert.ok(!(await raw(server.port, "\x16\x03\x01 hello\r\n\r\n")).head.includes(" 200 "));
    assert.match((await get(server.port, "/healthz")).head, /^HTTP\/1\.1 200 /);
  } finally {
    server.close();
  }
});

Deno.test("on a Unix socket only its owner is answered; one left behind is replaced, one in use is not", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/status`;
  const ask = async () => {
    using conn = await Deno.connect({ transport: "unix", path });
    const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    await writeAll(conn, new TextEncoder().encode(request));
    return new TextDecoder().decode(await readAll(conn));
  };
  try {
    const dead = Deno.listen({ transport: "unix", path: `${folder}/dead` });
    await Deno.link(`${folder}/dead`, path);
    dead.close();
    assert.ok((await Deno.lstat(path)).isSocket);
    const server = await listener(`Listen = unix:${path}`);
    try {
      assert.match(await ask(), /^HTTP\/1\.1 200 /);
      assert.equal((await Deno.lstat(path)).mode! & 0o777, 0o600);
      await assert.rejects(listener(`Listen = unix:${path}`), (error) => {
        assert.ok(error instanceof SettingError);
        assert.deepEqual(error.path, ["status", "listen"]);
        return error.message === `${path} is another process's, expected another path`;
      });
    } finally {
      server.close();
    }
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    await Deno.writeTextFile(path, "mine");
    await assert.rejects(listener(`Listen = unix:${path}`), /is there and is no socket/);
    assert.equal(await Deno.readTextFile(path), "mine");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a place that the system refuses is an error of the setting", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await assert.rejects(listener(`Listen = 127.0.0.1:${taken.addr.port}`), (error) => {
    assert.ok(error instanceof SettingError);
    return error.message === `port ${taken.addr.port} is in use, expected a free TCP port`;
  });
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "0123456789abcdef");
  await assert.rejects(
    listener(`Listen = 192.0.2.1:0\nTokenFile = ${file}`),
    /192\.0\.2\.1 is not this host's, expected one of its addresses/,
  );
  await assert.rejects(listener("TokenFile = /no/such"), (error) => {
    assert.ok(error instanceof SettingError);
    assert.deepEqual(error.path, ["status", "tokenFile"]);
    return true;
  });
  await Deno.remove(file);
});

// What that takes is measured by bench/scrape_bench.ts.
Deno.test("10,000 peers are scraped with as many series as were asked for", async () => {
  const { config } = loadConfig({
    interface: { privateKey: KEY },
    status: { listen: "127.0.0.1:0", maxPeers: 100 },
  });
  const gateway = await Gateway.start(config, { ffi: false });
  const server = await StatusServer.open(config.status!);
  try {
    const key = crypto.getRandomValues(new Uint8Array(32));
    for (let i = 0; i < 10_000; i++) {
      new DataView(key.buffer).setUint32(0, i);
      gateway.engine.device.addPeer({ publicKey: key.slice() }, gateway.engine.now());
    }
    server.serve(gateway);
    const text = (await get(server.port, "/metrics")).body;
    assert.equal(sample(text, "wirestack_peers"), 10_000);
    assert.equal(text.match(/^wirestack_peer_receive_bytes_total\{/gm)!.length, 101);
    assert.ok(text.includes('wirestack_peer_receive_bytes_total{peer="(others)"} 0\n'));
  } finally {
    server.close();
    await gateway.close();
  }
});

Deno.test("a token that would be waited for, or has no end, is refused at once", async () => {
  const folder = await Deno.makeTempDir();
  const pipe = `${folder}/token`;
  await new Deno.Command("mkfifo", { args: [pipe] }).output();
  try {
    for (const path of [pipe, "/dev/zero", folder]) {
      assert.throws(() => readToken(path), {
        message: `${path}: is no file, expected a file with a token`,
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
