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
});

/** A connection that has sent `length` bytes and just lowered its segment size to 1240. */
function lowered(length: number): Script {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok").setNoDelay(true);
  t.write(length);
  for (let i = 0; t.endpoint!.info().mss === 1460; i++) {
    assert.ok(i < 1_000);
    t.wait(10);
  }
  t.drop();
  return t;
}

/** The same, once what was in flight is acknowledged. */
function answered(): Script {
  const t = lowered(1_460);
  t.in(". 1 ack 1241");
  t.in(". 1 ack 1461");
  t.drop();
  return t;
}

Deno.test("black hole: a single full segment finds out that it was an outage (RFC 4821 §7)", () => {
  const t = answered();
  t.write(8_000);
  assert.deepEqual(t.drop().map(({ length }) => length), [1460, 1240]);
  const { congestionWindow } = t.endpoint!.info();
  t.in(". 1 ack 2921");
  const info = t.endpoint!.info();
  assert.equal(info.mss, 1460);
  assert.ok(info.congestionWindow <= congestionWindow + 1460, "larger segments, not more of them");
  const sent = t.drop();
  assert.ok(sent.length > 0 && sent.every(({ length }) => length === 1460));
});

Deno.test("black hole: a full segment that is lost is repaired by smaller ones, and none goes for ten minutes", () => {
  const t = answered();
  t.write(8_000);
  t.drop();
  const { timeouts } = t.endpoint!.info();
  t.in(". 1 ack 1461 sack 2921:4161");
  t.out(". 4161:5401"); // limited transmit
  t.wait(60); // the reordering window
  t.out(". 1461:2701");
  t.in(". 1 ack 2701 sack 2921:4161");
  t.out(". 2701:2921");
  const start = t.now;
  let end = 4_161;
  let probedAt = -1;
  for (let i = 0; i < 10_000 && probedAt < 0; i++) {
    t.in(`. 1 ack ${end}`);
    for (const { sequence, length, at } of t.drop()) {
      end = sequence + length;
      if (length > 1240) probedAt = at;
    }
    t.wait(100);
    t.write(8_000);
  }
  assert.ok(probedAt - start >= 600_000 && probedAt - start < 601_000, `after ${probedAt - start}`);
  assert.equal(t.endpoint!.info().timeouts, timeouts, "the probe cost none");
});

Deno.test("black hole: what was in flight is the first to find out", () => {
  const t = lowered(7_300);
  t.in(". 1 ack 1241");
  assert.deepEqual(t.drop().map(({ sequence, length }) => [sequence, length]), [
    [1241, 220],
    [1461, 1460],
  ]);
  t.in(". 1 ack 2921");
  // One was cut while the probe was on its way.
  assert.deepEqual(t.drop().map(({ sequence, length }) => [sequence, length]), [
    [2921, 1240],
    [4161, 220],
    [4381, 1460],
  ]);
  assert.equal(t.endpoint!.info().mss, 1460);
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
