import assert from "node:assert/strict";
import { Script } from "./script.ts";

Deno.test("this side closes first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT (RFC 9293 §3.6)", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.shutdownWrite();
  t.flush();
  t.out("F. 1 ack 1");
  assert.equal(endpoint.state, "fin-wait-1");
  t.in(". 1 ack 2");
  assert.equal(endpoint.state, "fin-wait-2");
  t.in("F. 1 ack 2");
  t.out(". 2 ack 2");
  assert.equal(endpoint.state, "time-wait");
  assert.deepEqual(t.events, ["connected", "readable", "closed"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timeWaitCount], [0, 1]);
  t.wait(60_000);
  assert.deepEqual([t.tcp.timeWaitCount, t.tcp.timers], [0, 0]);
});

Deno.test("the peer closes first: CLOSE-WAIT, LAST-ACK, closed (RFC 9293 §3.6)", () => {
  const t = new Script();
  const endpoint = t.established();
  t.in("F. 1 ack 1");
  t.out(". 1 ack 2");
  assert.equal(endpoint.state, "close-wait");
  assert.ok(endpoint.endOfFile);
  endpoint.close();
  t.flush();
  t.out("F. 1 ack 2");
  assert.equal(endpoint.state, "last-ack");
  t.in(". 2 ack 2");
  assert.deepEqual(t.events, ["connected", "readable", "closed"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timeWaitCount, t.tcp.timers], [0, 0, 0]);
});

Deno.test("simultaneous close: CLOSING, TIME-WAIT (RFC 9293 §3.6, figure 13)", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.shutdownWrite();
  t.flush();
  t.out("F. 1 ack 1");
  t.in("F. 1 ack 1");
  t.out(". 2 ack 2");
  assert.equal(endpoint.state, "closing");
  t.in(". 2 ack 2");
  assert.equal(endpoint.state, "time-wait");
});

Deno.test("FIN-WAIT-1: a FIN that acknowledges ours goes straight to TIME-WAIT", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.shutdownWrite();
  t.flush();
  t.out("F. 1 ack 1");
  t.in("F. 1 ack 2");
  t.out(". 2 ack 2");
  assert.equal(endpoint.state, "time-wait");
});

Deno.test("half-close by this side: the peer's data still arrives (RFC 9293 §3.6)", () => {
  const t = new Script();
  const endpoint = t.established();
  t.noQuickAcks();
  endpoint.shutdownWrite();
  t.flush();
  t.out("F. 1 ack 17");
  t.in(". 17 ack 2");
  t.wait(3_600_000);
  assert.equal(endpoint.state, "fin-wait-2", "an open half has no time limit");
  t.in("P. 17:1017 ack 2");
  t.read(17, 1017);
  t.in("F. 1017 ack 2");
  assert.ok(endpoint.endOfFile);
  assert.equal(endpoint.state, "time-wait");
});

Deno.test("half-close by the peer: our data still goes out", () => {
  const t = new Script();
  const endpoint = t.established();
  t.in("F. 1 ack 1");
  t.out(". 1 ack 2");
  assert.equal(t.write(500), 500);
  t.out("P. 1:501 ack 2");
  t.in(". 2 ack 501");
  endpoint.shutdownWrite();
  t.flush();
  t.out("F. 501 ack 2");
});

Deno.test("FIN waits for the data before it and shares its last segment", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.write(new Uint8Array(2000));
  endpoint.shutdownWrite();
  t.flush();
  t.out(". 1:1461 ack 1");
  t.out("FP. 1461:2001 ack 1");
  t.quiet();
  assert.equal(endpoint.write(new Uint8Array(1)), 0, "nothing follows a FIN");
});

Deno.test("a lingering close: unread data does not cost what was written (RFC 9112 §9.6)", () => {
  const t = new Script();
  const endpoint = t.established();
  t.in("P. 1:101 ack 1");
  t.out(". 1 ack 101");
  endpoint.write(new Uint8Array(500));
  endpoint.close({ lingering: true });
  t.flush();
  t.out("FP. 1:501 ack 101");
  assert.ok(endpoint.isDelivering);
  t.in("P. 101:201 ack 1");
  t.out(". 502 ack 201");
  t.in(". 201 ack 502");
  t.quiet();
  assert.ok(!endpoint.isDelivering);
  assert.equal(endpoint.state, "fin-wait-2");
  t.in("P. 201:301 ack 502");
  t.out("R. 502 ack 201");
});

Deno.test("a lingering close: what is discarded leaves the window open", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.close({ lingering: true });
  t.flush();
  t.out("F. 1 ack 1");
  for (let at = 1; at < 1_000_001; at += 1_000) {
    t.in(`P. ${at}:${at + 1000} ack 1`);
    t.drop();
  }
  t.in("F. 1000001 ack 2");
  t.out(". 2 ack 1000002");
  assert.equal(endpoint.readable, 0);
  assert.equal(endpoint.state, "time-wait");
});

Deno.test("a lost FIN is retransmitted (RFC 9293 §3.10.7.4)", () => {
  const t = new Script();
  t.established().shutdownWrite();
  t.flush();
  t.out("F. 1 ack 1");
  t.wait(200);
  t.out("F. 1 ack 1");
  t.wait(400);
  t.out("F. 1 ack 1");
  t.in(". 1 ack 2");
  t.wait(10_000);
  t.quiet();
});

Deno.test("the peer's FIN out of order waits for the data before it", () => {
  const t = new Script();
  const endpoint = t.established();
  t.in("F. 101 ack 1");
  t.out(". 1 ack 1");
  assert.equal(endpoint.state, "established");
  t.in("P. 1:101 ack 1");
  t.out(". 1 ack 102");
  assert.equal(endpoint.state, "close-wait");
  t.read(1, 101);
  assert.ok(endpoint.endOfFile);
});

Deno.test("a retransmitted FIN in CLOSE-WAIT is acknowledged again", () => {
  const t = new Script();
  t.established();
  t.in("F. 1 ack 1");
  t.out(". 1 ack 2");
  t.wait(300);
  t.in("F. 1 ack 1");
  t.out(". 1 ack 2");
});

Deno.test("FIN-WAIT-2 of a closed endpoint ends after 60 s (Linux tcp_fin_timeout)", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.close();
  t.flush();
  t.out("F. 1 ack 1");
  t.in(". 1 ack 2");
  t.wait(59_000);
  assert.equal(endpoint.state, "fin-wait-2");
  t.wait(1_001);
  assert.equal(endpoint.state, "closed");
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("data for a closed endpoint is answered with RST (RFC 1122 §4.2.2.13)", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.close();
  t.flush();
  t.out("F. 1 ack 1");
  t.in(". 1 ack 2");
  t.in("P. 1:101 ack 2");
  t.out("R. 2 ack 1");
  assert.equal(endpoint.state, "closed");
  assert.deepEqual(t.events, ["connected", "closed: aborted"]);
});

Deno.test("close with data unread sends RST (RFC 2525 §2.17)", () => {
  const t = new Script();
  const endpoint = t.established();
  t.in("P. 1:101 ack 1");
  t.drop();
  endpoint.close();
  t.flush();
  t.out("R. 1 ack 101");
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("closing twice, and everything else after the end, is harmless", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.close();
  endpoint.close();
  endpoint.shutdownWrite();
  t.flush();
  t.out("F. 1 ack 1");
  t.in("F. 1 ack 2");
  t.drop();
  endpoint.close();
  endpoint.abort();
  endpoint.setNoDelay(true);
  endpoint.setKeepAlive({ idle: 1, interval: 1, count: 1 });
  assert.equal(endpoint.write(new Uint8Array(5)), 0);
  assert.equal(endpoint.read(new Uint8Array(5)), 0);
  t.flush();
  t.quiet();
  assert.equal(t.events.filter((event) => event.startsWith("closed")).length, 1);
  t.wait(60_000);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timeWaitCount, t.tcp.timers], [0, 0, 0]);
});

Deno.test("data received before both sides closed can be read afterwards; closed() comes last", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.shutdownWrite();
  t.flush();
  t.in("FP. 1:101 ack 2");
  assert.equal(endpoint.state, "time-wait");
  assert.deepEqual(t.events, ["connected", "readable"]);
  t.read(1, 101);
  assert.deepEqual(t.events, ["connected", "readable", "closed"]);
});

Deno.test("abort sends RST and tells the handler once", () => {
  const t = new Script();
  const endpoint = t.established();
  t.write(100);
  t.drop();
  endpoint.abort();
  endpoint.abort();
  t.flush();
  t.out("R. 101 ack 1");
  t.quiet();
  assert.deepEqual(t.events, ["connected", "closed: aborted"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("close in SYN-SENT deletes the attempt (RFC 9293 §3.10.4)", () => {
  const t = new Script();
  const endpoint = t.connect();
  t.drop();
  endpoint.close();
  t.flush();
  t.quiet();
  assert.deepEqual(t.events, ["closed"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("the peer's RST ends the connection at once", () => {
  const t = new Script();
  t.established();
  t.in("R 1");
  t.quiet();
  assert.deepEqual(t.events, ["connected", "closed: reset"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("what had arrived before the peer's RST can be read, as with Linux, and then it is over", () => {
  const t = new Script();
  const endpoint = t.established();
  t.in("P. 1:101 ack 1");
  t.drop();
  t.in("R 101");
  t.quiet();
  assert.deepEqual(t.events, ["connected", "readable", "broken: reset"]);
  assert.deepEqual([endpoint.readable, t.write(10), t.tcp.timers], [100, 0, 0]);
  // Its ports are free for another connection meanwhile, and nothing can be added to the data.
  t.in("P. 101:201 ack 1");
  t.out("R 1");
  t.read(1, 101);
  assert.ok(!endpoint.endOfFile);
  assert.deepEqual(t.events.slice(3), ["closed: reset"]);
  assert.equal(t.tcp.connectionCount, 0);
});

for (const how of ["close", "abort"] as const) {
  Deno.test(`after the peer's RST ${how} gives the unread data up, and sends nothing`, () => {
    const t = new Script();
    const endpoint = t.established();
    t.in("P. 1:101 ack 1");
    t.drop();
    t.in("R 101");
    endpoint[how]();
    t.flush();
    t.quiet();
    assert.deepEqual(t.events.slice(3), ["closed: reset"]);
    assert.equal(t.tcp.connectionCount, 0);
  });
}

Deno.test("TIME-WAIT: the peer's FIN again is acknowledged and starts the time anew", () => {
  const t = timeWait();
  t.wait(50_000);
  t.in("F. 1 ack 2");
  t.out(". 2 ack 2");
  t.wait(50_000);
  assert.equal(t.tcp.timeWaitCount, 1);
  t.wait(10_001);
  assert.equal(t.tcp.timeWaitCount, 0);
});

Deno.test("TIME-WAIT ignores RST (RFC 1337 §3) and plain ACKs", () => {
  const t = timeWait();
  t.in("R 2");
  t.in("R. 2 ack 2");
  t.in(". 2 ack 2");
  t.quiet();
  assert.equal(t.tcp.timeWaitCount, 1);
});

Deno.test("TIME-WAIT gives way to a SYN above its numbers (RFC 1122 §4.2.2.13)", () => {
  const t = timeWait();
  t.in("S 1 mss 1460");
  t.out(". 2 ack 2");
  t.in("S 3 mss 1460");
  const [answer] = t.drop();
  assert.deepEqual([answer!.flags, answer!.ack], ["S.", 4]);
  assert.ok(answer!.sequence > 2, "our numbers go on above the old ones, too");
  assert.equal(t.tcp.counters.timeWaitReused, 1);
});

Deno.test("TIME-WAIT records are bounded, the oldest goes first, and 5,000 closes a second are nothing", () => {
  const t = new Script({ maxTimeWait: 1_000 });
  t.listen();
  for (let i = 0; i < 5_000; i++) {
    t.peerPort = 1_000 + i;
    t.iss = undefined;
    t.in("S 0 mss 1460");
    t.in(". 1 ack 1");
    t.endpoint!.close();
    t.flush();
    t.in("F. 1 ack 2");
  }
  t.drop();
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timeWaitCount], [0, 1_000]);
  assert.equal(t.tcp.counters.timeWaitOverflow, 4_000);
  t.wait(60_000);
  assert.deepEqual([t.tcp.timeWaitCount, t.tcp.timers], [0, 0]);
});

function timeWait(): Script {
  const t = new Script();
  t.established().close();
  t.flush();
  t.out("F. 1 ack 1");
  t.in("F. 1 ack 2");
  t.out(". 2 ack 2");
  return t;
}
