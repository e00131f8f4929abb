/**
 * What a real Prometheus makes of a gateway's figures, and `promtool` of their form.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Wirestack } from "../../mod.ts";
import { SITE, startPair } from "../proxy/pair.ts";
import { programTest } from "../with_program.ts";

const TOKEN = "a-token-for-this-test";
/** What goes through the tunnel: each way, so often. */
const PAYLOAD = 100_000;
const ROUNDS = 40;

/** A gateway with a status listener and a client of it, on loopback. */
async function start(tokenFile: string) {
  const pair = await startPair({ sections: { status: { listen: "127.0.0.1:0", tokenFile } } });
  const [peer] = pair.gateway.stats().peers;
  pair.gateway.updatePeer(peer!.publicKey, { name: "laptop" });
  return pair;
}

/** Sends and fetches {@link PAYLOAD} bytes over one connection. */
async function transfer(client: Wirestack, port: number): Promise<void> {
  const conn = await client.connect({ hostname: SITE, port });
  const bytes = new Uint8Array(PAYLOAD);
  const sending = (async () => {
    for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
    await conn.closeWrite();
  })();
  let received = 0;
  const buffer = new Uint8Array(65_536);
  for (let length; (length = await conn.read(buffer)) !== null;) received += length;
  await sending;
  assert.equal(received, PAYLOAD);
  conn.close();
}

/** A server that sends back what it gets. */
function echo(): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const conn of listener) {
      conn.readable.pipeTo(conn.writable).catch(() => {});
    }
  })().catch(() => {});
  return listener;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

programTest("promtool", "promtool has nothing to say about the metrics", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/token`, TOKEN);
  const { gateway, client } = await start(`${folder}/token`);
  using site = echo();
  try {
    await transfer(client, site.addr.port);
    await assert.rejects(client.connect({ hostname: SITE, port: gateway.statusPort! }));
    const response = await fetch(`http://127.0.0.1:${gateway.statusPort}/metrics`, {
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    const child = new Deno.Command("promtool", {
      args: ["check", "metrics", "--extended"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(await response.bytes());
    await writer.close();
    const { code, stdout, stderr } = await child.output();
    assert.equal(new TextDecoder().decode(stderr), "");
    assert.equal(code, 0);
    assert.match(new TextDecoder().decode(stdout), /wirestack_flow_bytes_total\s+2\s/);
  } finally {
    await client.close({ graceMs: 0 });
    await gateway.close({ graceMs: 0 });
    await Deno.remove(folder, { recursive: true });
  }
});

programTest(
  "prometheus",
  "a real Prometheus scrapes, and its increases are the payload that was sent",
  async () => {
    const folder = await Deno.makeTempDir();
    await Deno.writeTextFile(`${folder}/token`, TOKEN);
    const { gateway, client } = await start(`${folder}/token`);
    using site = echo();
    const port = freePort();
    await Deno.writeTextFile(
      `${folder}/prometheus.yml`,
      `global: {scrape_interval: 1s}
scrape_configs:
  - job_name: wirestack
    authorization: {credentials_file: ${folder}/token}
    static_configs: [{targets: ["127.0.0.1:${gateway.statusPort}"]}]
`,
    );
    const prometheus = new Deno.Command("prometheus", {
      args: [
        `--config.file=${folder}/prometheus.yml`,
        `--storage.tsdb.path=${folder}/data`,
        `--web.listen-address=127.0.0.1:${port}`,
        "--log.level=error",
      ],
      stdout: "null",
      stderr: "null",
    }).spawn();
    const query = async (text: string): Promise<[number, string][]> => {
      try {
        const response = await fetch(
          `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(text)}`,
        );
        const { data: { result: [series] } } = await response.json();
        return series?.values ?? (series === undefined ? [] : [series.value]);
      } catch {
        return []; // it is being started
      }
    };
    const until = async (what: string, isSo: () => Promise<boolean>) => {
      const deadline = performance.now() + 60_000;
      while (!await isSo()) {
        assert.ok(performance.now() < deadline, `still not so: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    try {
      await transfer(client, site.addr.port);
      const bytes = (direction: string) => `wirestack_flow_bytes_total{direction="${direction}"}`;
      await until(
        "the first bytes are seen",
        async () => Number((await query(bytes("up")))[0]?.[1]) === PAYLOAD,
      );
      for (let i = 1; i < ROUNDS; i++) {
        await transfer(client, site.addr.port);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      for (const direction of ["up", "down"]) {
        await until(
          "the last bytes are seen",
          async () => Number((await query(bytes(direction)))[0]?.[1]) === ROUNDS * PAYLOAD,
        );
        const samples = (await query(`${bytes(direction)}[5m]`)).map(([, value]) => Number(value));
        assert.ok(samples.length > 3, `${samples}`);
        assert.deepEqual(samples, samples.toSorted((a, b) => a - b), "a counter never goes back");
        const [first] = samples;
        const increase = Number((await query(`increase(${bytes(direction)}[5m])`))[0]?.[1]);
        const sent = ROUNDS * PAYLOAD - first!;
        // It reckons with half a step more at each end of what it has seen.
        assert.ok(Math.abs(increase / sent - 1) < 0.1, `${increase} of ${sent}`);
      }
      assert.equal((await query('up{job="wirestack"}'))[0]?.[1], "1");
      const peer = await query('wirestack_peer_receive_bytes_total{peer="laptop"}');
      assert.ok(Number(peer[0]![1]) > ROUNDS * PAYLOAD);
      assert.equal((await query("wirestack_dial_duration_seconds_count"))[0]?.[1], `${ROUNDS}`);
    } finally {
      prometheus.kill("SIGTERM");
      await prometheus.status;
      await client.close({ graceMs: 0 });
      await gateway.close({ graceMs: 0 });
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("10,000 slow clients keep nobody out, cost a bounded number of connections, and the tunnel goes on", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/token`, TOKEN);
  const { gateway, client } = await start(`${folder}/token`);
  using site = echo();
  const scrape = async () => {
    const response = await fetch(`http://127.0.0.1:${gateway.statusPort}/metrics`, {
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    assert.equal(response.status, 200);
    const text = await response.text();
    const value = (name: string) => Number(text.match(new RegExp(`^${name} (.*)$`, "m"))![1]);
    return {
      connections: value("wirestack_status_connections"),
      displaced: value("wirestack_status_displaced_total"),
    };
  };
  const main = fileURLToPath(new URL("slow_clients_main.ts", import.meta.url));
  const flood = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-config",
      "--allow-net",
      main,
      `${gateway.statusPort}`,
      "10000",
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = flood.stdout.getReader();
  let isOpen = false;
  const opened = output.read().then(() => isOpen = true);
  try {
    await transfer(client, site.addr.port);
    let transfers = 0;
    let most = 0;
    while (!isOpen) {
      await transfer(client, site.addr.port);
      most = Math.max(most, (await scrape()).connections);
      transfers++;
    }
    await opened;
    // The last of them may still be in the system's queue.
    let { connections, displaced } = await scrape();
    for (let left = 100; left > 0 && displaced <= 9_000; left--) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      ({ connections, displaced } = await scrape());
    }
    assert.ok(displaced > 9_000, `${displaced} displaced`);
    assert.ok(Math.max(most, connections) <= 64, `${most} connections`);
    assert.ok(transfers > 3, `${transfers} transfers meanwhile`);
  } finally {
    await flood.stdin.close();
    await flood.status;
    await output.cancel();
    await client.close({ graceMs: 0 });
    await gateway.close({ graceMs: 0 });
    await Deno.remove(folder, { recursive: true });
  }
});
