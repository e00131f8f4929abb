/**
 * What a real Prometheus makes of a gateway's figures, and `promtool` of their form.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { readAll, SITE, writeAll } from "../proxy/pair.ts";
import { programTest } from "../with_program.ts";
import { eventually } from "./lab.ts";
import { added, flowBytes, Prometheus, ScrapedPair, TOKEN } from "./prometheus.ts";

/** What goes through the tunnel: each way, so often. */
const PAYLOAD = 100_000;
const ROUNDS = 40;

programTest("promtool", "promtool has nothing to say about the metrics", async () => {
  await using pair = await ScrapedPair.start();
  await pair.transfer(PAYLOAD);
  await assert.rejects(pair.client.connect({ hostname: SITE, port: pair.statusPort }));
  const response = await fetch(`http://127.0.0.1:${pair.statusPort}/metrics`, {
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
});

programTest(
  "prometheus",
  "a real Prometheus scrapes, and its increases are the payload that was sent",
  async () => {
    await using pair = await ScrapedPair.start();
    await using prometheus = await Prometheus.start(pair, "1s");
    await pair.transfer(PAYLOAD);
    await prometheus.until(flowBytes("up"), PAYLOAD);
    for (let i = 1; i < ROUNDS; i++) {
      await pair.transfer(PAYLOAD);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    for (const direction of ["up", "down"] as const) {
      const bytes = flowBytes(direction);
      await prometheus.until(bytes, ROUNDS * PAYLOAD);
      const samples = await eventually("four samples", async () => {
        const found = await prometheus.query(`${bytes}[5m]`);
        return found.length > 3 && found;
      });
      const sent = ROUNDS * PAYLOAD - samples[0]![1];
      assert.equal(added(samples), sent);
      // It reckons with half a step more at each end of what it has seen, at the time of the last none.
      const increase = await prometheus.value(`increase(${bytes}[5m])`, samples.at(-1)![0]);
      assert.ok(Math.abs(increase! / sent - 1) < 0.1, `${increase} of ${sent}`);
    }
    await prometheus.until('up{job="wirestack"}', 1);
    await eventually("the peer's bytes", async () => {
      const peer = await prometheus.value('wirestack_peer_receive_bytes_total{peer="laptop"}');
      return peer! > ROUNDS * PAYLOAD;
    });
    await prometheus.until("wirestack_dial_duration_seconds_count", ROUNDS);
  },
);

Deno.test("10,000 slow clients keep nobody out, cost a bounded number of connections, and the tunnel goes on", async () => {
  await using pair = await ScrapedPair.start();
  const scrape = async () => {
    const response = await fetch(`http://127.0.0.1:${pair.statusPort}/metrics`, {
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
      `${pair.statusPort}`,
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
    await pair.transfer(PAYLOAD);
    let transfers = 0;
    let most = 0;
    while (!isOpen || transfers < 4) {
      await pair.transfer(PAYLOAD);
      most = Math.max(most, (await scrape()).connections);
      transfers++;
    }
    await opened;
    // The last of them may still be in the system's queue.
    const connections = await eventually("most are displaced", async () => {
      const { connections, displaced } = await scrape();
      return displaced > 9_000 && connections;
    });
    assert.ok(Math.max(most, connections) <= 64, `${most} connections`);
  } finally {
    await flood.stdin.close();
    await flood.status;
    await output.cancel();
  }
});

/** Requests that are refused, and how. */
const REFUSED = [
  ["401", "Host: localhost\r\nAuthorization: Bearer not-this-one-at-all"],
  ["401", "Host: localhost"],
  ["421", `Host: evil.test\r\nAuthorization: Bearer ${TOKEN}`],
  ["431", `Host: localhost\r\nX: ${"x".repeat(20_000)}`],
] as const;

Deno.test("wrong tokens, wrong hosts and huge heads are refused again and again, and the tunnel goes on", async () => {
  await using pair = await ScrapedPair.start();
  const ask = async (fields: string) => {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: pair.statusPort });
    const request = `GET /metrics HTTP/1.1\r\n${fields}\r\nConnection: close\r\n\r\n`;
    await writeAll(conn, new TextEncoder().encode(request));
    return new TextDecoder().decode(await readAll(conn)).split(" ", 2)[1];
  };
  await pair.transfer(PAYLOAD);
  let isOver = false;
  let refused = 0;
  const asking = REFUSED.map(async ([status, fields]) => {
    for (; !isOver; refused++) assert.equal(await ask(fields), status);
  });
  try {
    for (let i = 0; i < 20; i++) {
      const before = refused;
      await pair.transfer(PAYLOAD); // every byte comes back
      await eventually("some are refused meanwhile", () => refused >= before + REFUSED.length);
    }
  } finally {
    isOver = true;
    await Promise.all(asking);
  }
  const { flows } = pair.gateway.stats();
  assert.deepEqual([flows.total.bytesUp, flows.total.bytesDown], [21 * PAYLOAD, 21 * PAYLOAD]);
  await eventually("all have ended", () => pair.gateway.stats().flows.tcp.ended.closed === 21);
  assert.equal(await ask(`Host: localhost\r\nAuthorization: Bearer ${TOKEN}`), "200");
});
