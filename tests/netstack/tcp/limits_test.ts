import assert from "node:assert/strict";
import { Script } from "./script.ts";

Deno.test("user timeout: data unacknowledged for as long ends the connection (RFC 9293 §3.8.3)", () => {
  const t = new Script();
  t.established().setUserTimeout(5_000);
  t.write(100);
  t.wait(4_990);
  assert.equal(t.endpoint!.state, "established");
  t.wait(20);
  assert.deepEqual([t.endpoint!.state, t.error!.kind], ["closed", "timeout"]);
});

Deno.test("user timeout counts from the last progress, and replaces the number of retransmissions", () => {
  const t = new Script();
  t.established().setUserTimeout(3_000_000);
  t.write(200);
  t.wait(1_000_000);
  t.in(". 1 ack 101");
  // Fifteen retransmissions would have ended long ago.
  t.wait(2_990_000);
  assert.equal(t.endpoint!.state, "established");
  t.wait(20_000);
  assert.equal(t.error!.kind, "timeout");
  assert.throws(() => t.endpoint!.setUserTimeout(-1), RangeError);
});

Deno.test("user timeout: a window closed for as long ends the connection, though probes are answered", () => {
  const t = new Script({ userTimeoutMs: 10_000 });
  t.established();
  t.in(". 1 ack 1 win 0");
  t.write(100);
  for (let i = 0; i < 100 && t.error === undefined; i++) {
    t.wait(200);
    if (t.drop().length > 0) t.in(". 1 ack 1 win 0");
  }
  assert.equal(t.error!.kind, "timeout");
});

Deno.test("a closed endpoint whose peer keeps its window shut is given up after eight probes", () => {
  const t = new Script();
  t.established();
  t.in(". 1 ack 1 win 0");
  t.write(100);
  t.endpoint!.close();
  t.flush();
  let probes = 0;
  for (let i = 0; i < 1_000 && t.error === undefined; i++) {
    t.wait(1_000);
    const sent = t.drop().filter(({ flags }) => !flags.includes("R"));
    probes += sent.length;
    if (sent.length > 0) t.in(". 1 ack 1 win 0");
  }
  assert.equal(t.error!.kind, "timeout");
  assert.equal(probes, 8);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("an open endpoint waits for its peer's window for as long as probes are answered", () => {
  const t = new Script();
  t.established();
  t.in(". 1 ack 1 win 0");
  t.write(100);
  for (let i = 0; i < 1_000; i++) {
    t.wait(1_000);
    if (t.drop().length > 0) t.in(". 1 ack 1 win 0");
  }
  assert.equal(t.endpoint!.state, "established");
});

Deno.test("black hole: when full segments vanish, smaller ones are tried (RFC 2923 §2.1)", () => {
  const t = new Script();
  t.established().setNoDelay(true);
  t.write(5_000);
  assert.deepEqual(t.drop().map(({ length }) => length), [1460, 1460, 1460, 620]);
  // 200 + 400 + 800 ms: three timeouts change nothing, the fourth does.
  t.wait(1_450);
  assert.ok(t.drop().every(({ length }) => length === 1460));
  t.wait(1_600);
  t.out(". 1:1241");
  t.in(". 1 ack 1241");
  assert.ok(t.drop().every(({ length }) => length <= 1240));
  t.in(". 1 ack 5001");
  assert.equal(t.tcp.counters.blackHoles, 1);
  // Ten minutes later the path gets another chance.
  t.wait(600_000);
  t.in(". 1:2 ack 5001");
  t.write(10);
  t.in(". 2 ack 5011");
  t.drop();
  t.write(1_460);
  assert.equal(t.drop().at(-1)!.length, 1460);
});

Deno.test("black hole: small segments that vanish lower nothing", () => {
  const t = new Script();
  t.established();
  t.write(400);
  t.wait(30_000);
  assert.equal(t.tcp.counters.blackHoles, 0);
  assert.equal(t.endpoint!.info().mss, 1460);
});

Deno.test("buffers are given back after ten seconds without traffic, and the window starts small again", () => {
  const t = new Script({ windowScale: true });
  const endpoint = t.established("S 0 mss 1460 wscale 7");
  t.wait(20);
  for (let at = 1; at < 400_000; at += 1460) {
    t.in(`. ${at}:${at + 1460} ack 1`);
    endpoint.read(new Uint8Array(2_000));
    t.flush();
    if (at % 20 === 1) t.wait(20);
  }
  t.wait(50);
  t.drop();
  const { receiveWindow, bufferBytes } = endpoint.info();
  assert.ok(bufferBytes > 0);
  t.wait(10_100);
  assert.equal(endpoint.info().bufferBytes, 0);
  // What was announced stays (RFC 9293 §3.8.6).
  assert.equal(endpoint.info().receiveWindow, receiveWindow);
  assert.equal(t.tcp.timers, 0);
});
