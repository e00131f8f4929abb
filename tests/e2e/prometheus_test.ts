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
import { Process } from "./process.ts";

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
    await Deno.writeTextFile(
      `${folder}/prometheus.yml`,
      `global: {scrape_interval: 1s}
scrape_configs:
  - job_name: wirestack
    authorization: {credentials_file: ${folder}/token}
    static_configs: [{targets: ["127.0.0.1:${gateway.statusPort}"]}]
`,
    );
    const prometheus = new Process("prometheus", [
      ...[
        "prometheus",
        `--config.file=${folder}/prometheus.yml`,
        `--storage.tsdb.path=${folder}/data`,
        "--web.listen-address=127.0.0.1:0",
      ],
    ]);
    let port = "";
    const query = async (text: string, time?: number): Promise<[number, string][]> => {
      const parameters = new URLSearchParams({ query: text });
      if (time !== undefined) parameters.set("time", `${time}`);
      try {
        const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?${parameters}`);
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
      [, port = ""] = await prometheus.line(/Listening on"? address=127\.0\.0\.1:(\d+)/);
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
        let seen: [number, string][] = [];
        await until("four samples", async () => {
          seen = await query(`${bytes(direction)}[5m]`);
          return seen.length > 3;
        });
        const samples = seen.map(([, value]) => Number(value));
        assert.deepEqual(samples, samples.toSorted((a, b) => a - b), "a counter never goes back");
        const [first] = samples;
        // It reckons with half a step more at each end of what it has seen, at the time of the last none.
        const at = seen.at(-1)![0];
        const [reckoned] = await query(`increase(${bytes(direction)}[5m])`, at);
        const increase = Number(reckoned?.[1]);
        const sent = ROUNDS * PAYLOAD - first!;
        assert.ok(Math.abs(increase / sent - 1) < 0.1, `${increase} of ${sent}`);
      }
      // What takes it more than its second is not there the second after.
      const value = async (text: string) => (await query(text))[0]?.[1];
      await until("it is up", async () => await value('up{job="wirestack"}') === "1");
      await until("the peer's bytes", async () => {
        const received = await value('wirestack_peer_receive_bytes_total{peer="laptop"}');
        return Number(received) > ROUNDS * PAYLOAD;
      });
      await until("each dial", async () => {
        return await value("wirestack_dial_duration_seconds_count") === `${ROUNDS}`;
      });
    } finally {
      await prometheus[Symbol.asyncDispose]();
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
    while (!isOpen || transfers < 4) {
      await transfer(client, site.addr.port);
      most = Math.max(most, (await scrape()).connections);
      transfers++;
    }
    await opened;
    // The last of them may still be in the system's queue.
    let { connections, displaced } = await scrape();
    for (let left = 600; left > 0 && displaced <= 9_000; left--) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      ({ connections, displaced } = await scrape());
    }
    assert.ok(displaced > 9_000, `${displaced} displaced`);
    assert.ok(Math.max(most, connections) <= 64, `${most} connections`);
  } finally {
    await flood.stdin.close();
    await flood.status;
    await output.cancel();
    await client.close({ graceMs: 0 });
    await gateway.close({ graceMs: 0 });
    await Deno.remove(folder, { recursive: true });
  }
});
