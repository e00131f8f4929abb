import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/address.ts";
import { HOST, PEER, PEER_PORT, PORT, Script, type Sent } from "./script.ts";

Deno.test("slow start begins with ten segments and grows by what is acknowledged (RFC 6928, RFC 5681 §3.1)", () => {
  const t = new Script();
  t.established();
  t.write(60_000);
  assert.equal(t.drop().length, 10);
  t.in(". 1 ack 2921");
  assert.equal(t.drop().length, 4);
});

Deno.test("RTO: retransmission with exponential backoff, 15 times, then timeout (RFC 6298 §5)", () => {
  const t = new Script();
  t.established();
  t.write(100);
  t.out("P. 1:101 ack 1");
  const start = t.now;
  t.wait(2_000_000);
  const sent = t.drop();
  const reset = sent.pop()!;
  assert.equal(reset.flags, "R.");
  assert.equal(sent.length, 15);
  const gaps = sent.map(({ at }, i) => at - (i === 0 ? start : sent[i - 1]!.at));
  const expected = Array.from({ length: 15 }, (_, i) => Math.min(120_000, 200 * 2 ** i));
  assert.deepEqual(gaps, expected);
  assert.deepEqual(t.events, ["connected", "closed: timeout"]);
  assert.deepEqual([t.tcp.connectionCount, t.tcp.timers], [0, 0]);
});

Deno.test("another way to the peer: what was not answered goes at once, and its timeout begins anew", () => {
  const t = new Script();
  t.established();
  t.write(100);
  t.drop();
  t.wait(200 + 400 + 800 + 100);
  assert.equal(t.drop().length, 3);
  const start = t.now;
  t.tcp.tryAgain(({ version }) => version === 6, t.now);
  t.wait(1);
  t.quiet();
  t.tcp.tryAgain((remote) => remote.equals(PEER), t.now);
  t.wait(2_000);
  assert.deepEqual(t.drop().map(({ at }) => at - start), [1, 401, 1_201]);
  t.in(". 1 ack 101");
  // Nothing waits for anybody: nothing is sent.
  t.tcp.tryAgain(() => true, t.now);
  t.wait(10_000);
  t.quiet();
});

Deno.test("another way to the peer: a SYN that was not answered goes at once, and no earlier given up", () => {
  const t = new Script({ synRetries: 3 });
  t.connect();
  t.drop();
  t.wait(1_000 + 2_000 + 100);
  assert.equal(t.drop().length, 2);
  const start = t.now;
  t.tcp.tryAgain(() => true, t.now);
  t.wait(100_000);
  assert.deepEqual(t.drop().map(({ flags, at }) => [flags, at - start]), [["S", 0], ["S", 2_000]]);
  assert.deepEqual(t.events, ["closed: timeout"]);
});

Deno.test("Karn: an ACK of a retransmitted segment measures nothing without timestamps (RFC 6298 §3)", () => {
  const t = new Script();
  t.established();
  t.write(100);
  t.wait(200);
  const { rttMs } = t.endpoint!.info();
  t.wait(50);
  t.in(". 1 ack 101");
  assert.equal(t.endpoint!.info().rttMs, rttMs);
});

Deno.test("a valid sample ends the backoff, by timestamps even of a retransmission (RFC 6298 §5.7)", () => {
  const t = new Script({ timestamps: true });
  t.established("S 0 mss 1460 ts 100 0");
  t.write(100);
  t.drop();
  t.wait(200 + 400 + 800);
  const again = t.drop().at(-1)!;
  assert.ok(t.endpoint!.info().rtoMs >= 1_600);
  t.wait(10);
  t.in(`. 1 ack 101 ts 120 ${again.ts![0]}`);
  assert.ok(t.endpoint!.info().rtoMs <= 210, `${t.endpoint!.info().rtoMs}`);
});

Deno.test("fast retransmit after three duplicate ACKs, NewReno through partial ACKs (RFC 5681 §3.2, RFC 6582)", () => {
  const t = new Script({ congestion: "newreno" });
  t.established();
  t.write(14_600);
  assert.equal(t.drop().length, 10);
  // Segments 1 and 3 are lost.
  t.in(". 1 ack 1");
  t.in(". 1 ack 1");
  t.quiet();
  t.in(". 1 ack 1");
  t.out(". 1:1461");
  t.quiet();
  for (let i = 0; i < 5; i++) t.in(". 1 ack 1");
  t.drop();
  t.in(". 1 ack 2921");
  t.out(". 2921:4381");
  t.in(". 1 ack 14601");
  assert.equal(t.endpoint!.info().inFlight, 0);
  assert.equal(t.endpoint!.info().timeouts, 0);
  assert.equal(t.endpoint!.info().congestionWindow, 7_300);
});

Deno.test("limited transmit: two duplicate ACKs release two new segments (RFC 3042 §2)", () => {
  const t = new Script();
  t.established();
  t.write(29_200);
  assert.equal(t.drop().length, 10);
  t.in(". 1 ack 1");
  t.out(". 14601:16061");
  t.quiet();
  t.in(". 1 ack 1");
  t.out(". 16061:17521");
  t.quiet();
});

Deno.test("SACK recovery sends what is missing, and nothing else, again (RFC 6675 §5)", () => {
  const t = new Script({ sack: true, rack: false });
  t.established("S 0 mss 1460 sackok");
  t.write(14_600);
  t.drop();
  // 1, 2 and 5 are lost.
  t.in(". 1 ack 1 sack 2921:4381");
  t.in(". 1 ack 1 sack 2921:5841");
  t.quiet();
  t.in(". 1 ack 1 sack 7301:8761 2921:5841");
  t.out(". 1:1461");
  t.in(". 1 ack 1 sack 7301:10221 2921:5841");
  t.in(". 1 ack 1 sack 7301:11681 2921:5841");
  t.in(". 1 ack 1 sack 7301:13141 2921:5841");
  t.in(". 1 ack 1 sack 7301:14601 2921:5841");
  const again = t.drop().map(({ sequence }) => sequence);
  assert.deepEqual(again, [1461, 5841]);
  t.in(". 1 ack 14601");
  assert.deepEqual(
    [t.endpoint!.info().timeouts, t.endpoint!.info().retransmits, t.endpoint!.info().inFlight],
    [0, 3, 0],
  );
});

Deno.test("a lost retransmission is found by time, not by the RTO (RFC 8985 §6.2)", () => {
  const t = new Script({ sack: true });
  t.listen();
  t.in("S 0 mss 1460 sackok");
  t.wait(100);
  t.in(". 1 ack 1");
  t.drop();
  t.write(29_200);
  t.drop();
  t.wait(100);
  for (let i = 2; i <= 10; i++) t.in(`. 1 ack 1 sack 1461:${1 + 1460 * i}`);
  const first = t.drop();
  assert.equal(first.filter(({ sequence }) => sequence === 1).length, 1);
  const fresh = first.at(-1)!;
  assert.ok(fresh.sequence > 14_600, "new data follows the retransmission");
  // The new data arrives, the retransmission does not.
  t.wait(130);
  t.in(`. 1 ack 1 sack 1461:${fresh.sequence + fresh.length}`);
  // What was sent after it is there, and nothing was ever reordered (RFC 8985 §6.2 step 4).
  t.out(". 1:1461");
  assert.equal(t.endpoint!.info().timeouts, 0);
});

Deno.test("after a timeout only what the receiver lacks is sent again (RFC 6675 §5.1)", () => {
  const t = new Script({ sack: true, rack: false });
  t.established("S 0 mss 1460 sackok");
  t.write(5_840);
  t.drop();
  t.in(". 1 ack 1 sack 1461:2921");
  t.wait(250);
  t.out(". 1:1461");
  t.in(". 1 ack 2921");
  const again = t.drop().map(({ sequence }) => sequence);
  assert.deepEqual(again, [2921, 4381]);
});

Deno.test("a receiver that drops what it had reported gets it again (RFC 2018 §8)", () => {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok");
  t.write(4_380);
  t.drop();
  t.in(". 1 ack 1 sack 1461:4381");
  t.wait(250);
  t.out(". 1:1461");
  t.in(". 1 ack 1461");
  t.wait(1_000);
  assert.ok(t.drop().some(({ sequence }) => sequence === 1461));
});

Deno.test("a spurious timeout is seen by its timestamp and undone (RFC 3522 §3.2, RFC 4015)", () => {
  const t = new Script({ timestamps: true });
  t.established("S 0 mss 1448 ts 100 0");
  t.write(12_000);
  const sent = t.drop();
  const { congestionWindow } = t.endpoint!.info();
  t.wait(205);
  t.out(". 1:1437");
  assert.ok(t.endpoint!.info().congestionWindow < congestionWindow);
  // The ACK of the first transmission was only late.
  t.in(`. 1 ack 1437 ts 101 ${sent[0]!.ts![0]}`);
  assert.equal(t.endpoint!.info().spurious, 1);
  assert.ok(t.endpoint!.info().congestionWindow >= congestionWindow);
  t.in(`. 1 ack 12001 ts 102 ${sent[0]!.ts![0]}`);
  assert.equal(t.drop().filter(({ length }) => length > 0).length, 0);
});

Deno.test("the ACK of an earlier repair's retransmission does not undo a later repair (RFC 3522 §3.2)", () => {
  const t = new Script({ timestamps: true, sack: true });
  t.listen();
  t.in("S 0 mss 1460 sackok ts 100 0");
  t.wait(100);
  t.in(`. 1 ack 1 ts 101 ${t.drop()[0]!.ts![0]}`);
  const mss = 1448;
  const end = (segment: number) => 1 + segment * mss;
  let clock = 101;
  // The peer has all segments up to `upTo`, and `first` to `last`. @returns what is sent then
  const ack = (upTo: number, [first, last]: [number, number], echo: Sent): Sent[] => {
    t.in(`. 1 ack ${end(upTo)} sack ${end(first - 1)}:${end(last)} ts ${++clock} ${echo.ts![0]}`);
    return t.drop();
  };
  const numbers = (sent: Sent[]) => sent.map(({ sequence }) => 1 + (sequence - 1) / mss);
  t.write(60_000);
  const sent = t.drop();
  assert.equal(sent.length, 10);
  t.wait(100);
  // 1 is lost.
  assert.deepEqual(numbers(ack(0, [2, 4], sent[0]!)), [1]);
  t.wait(10);
  assert.deepEqual(numbers(ack(0, [2, 7], sent[0]!)), [11, 12, 13]);
  t.wait(10);
  assert.deepEqual(numbers(ack(0, [2, 10], sent[0]!)), [14, 15, 16]);
  t.wait(90);
  // So is its retransmission, and 13, whose own one follows some later.
  const again = ack(0, [2, 11], sent[0]!);
  assert.deepEqual(numbers(again), [1, 17]);
  t.wait(2);
  assert.deepEqual(numbers(ack(0, [2, 12], sent[0]!)), [18]);
  t.wait(8);
  const later = ack(0, [14, 16], sent[0]!);
  assert.equal(numbers(later)[0], 13);
  t.wait(90);
  // The repair is over, 13 on its way. Then 17 turns out to be lost: a second repair.
  ack(12, [14, 16], again[0]!);
  const { congestionWindow } = t.endpoint!.info();
  t.wait(2);
  assert.equal(numbers(ack(12, [18, 18], again[0]!))[0], 17);
  t.wait(8);
  ack(16, [18, 18], later[0]!);
  const info = t.endpoint!.info();
  assert.equal(info.spurious, 0);
  assert.ok(info.congestionWindow < congestionWindow);
});

Deno.test("Nagle holds a small segment back while one is in flight; noDelay does not (RFC 9293 §3.7.4)", () => {
  const t = new Script();
  const endpoint = t.established();
  t.write(10);
  t.out("P. 1:11");
  t.write(10);
  t.quiet();
  t.in(". 1 ack 11");
  t.out("P. 11:21");
  endpoint.setNoDelay(true);
  t.write(10);
  t.out("P. 21:31");
});

Deno.test("no silly segments into a small window (RFC 9293 §3.8.6.2.1)", () => {
  const t = new Script();
  t.listen();
  t.in("S 0 mss 1460 win 4000");
  t.out("S. 0 ack 1");
  t.in(". 1 ack 1 win 4000");
  t.write(10_000);
  assert.deepEqual(t.drop().map(({ length }) => length), [1460, 1460]);
  t.in(". 1 ack 2921 win 500");
  t.quiet();
  // The override: the window may never grow (rule 4).
  t.wait(200);
  t.out("P. 2921:3421".replace("P", ""));
});

Deno.test("a closed window is probed with one byte, with backoff, for as long as the peer answers (RFC 9293 §3.8.6.1)", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.setNoDelay(true);
  t.write(1_000);
  t.drop();
  t.in(". 1 ack 1001 win 0");
  t.write(5_000);
  t.quiet();
  let last = t.now;
  const gaps: number[] = [];
  for (let i = 0; i < 40; i++) {
    t.wait(120_000 - (t.now - last) % 1);
    for (const probe of t.drop()) {
      assert.deepEqual([probe.sequence, probe.length], [1001, 1]);
      gaps.push(probe.at - last);
      last = probe.at;
      t.in(". 1 ack 1001 win 0");
    }
  }
  assert.ok(gaps.length > 30);
  assert.deepEqual(gaps.slice(0, 4), [200, 400, 800, 1600]);
  assert.equal(gaps.at(-1), 120_000);
  assert.equal(endpoint.state, "established");
  // The window opens.
  t.in(". 1 ack 1001 win 65535");
  const sent = t.drop();
  assert.equal(sent[0]!.sequence, 1001);
  assert.equal(sent.at(-1)!.sequence + sent.at(-1)!.length, 6001);
});

Deno.test("probes that nobody answers end the connection", () => {
  const t = new Script({ maxRetries: 4 });
  t.established();
  t.write(1_000);
  t.in(". 1 ack 1001 win 0");
  t.write(1_000);
  t.wait(60_000);
  assert.deepEqual(t.events.at(-1), "closed: timeout");
});

Deno.test("a window that shrinks does not break anything (RFC 9293 §3.8.6)", () => {
  const t = new Script();
  t.established();
  t.write(14_600);
  assert.equal(t.drop().length, 10);
  t.in(". 1 ack 1461 win 1000");
  t.quiet();
  t.wait(250);
  t.out(". 1461:2921");
  t.in(". 1 ack 14601 win 65535");
  t.write(100);
  t.out("P. 14601:14701");
});

Deno.test("an ACK on repeated data brings its window with it: nothing is sent behind what the peer takes", () => {
  const t = new Script({ timestamps: true, windowScale: true, sack: true });
  t.established("S 0 mss 1460 sackok wscale 0 ts 100 0");
  t.write(60_000);
  const sent = t.drop();
  assert.equal(sent.length, 10);
  const [end] = sent.map(({ sequence, length }) => sequence + length).slice(-1);
  // The peer sent twice, the first is lost; its window is full of what nobody reads.
  t.in(`. 1461:2921 ack 1 win 20000 ts 101 0`);
  // Now it sends the first again, and acknowledges; the edge stays where it was, at 20,001.
  t.in(`. 1:1461 ack ${end} win ${20_001 - end!} ts 102 ${sent[0]!.ts![0]}`);
  assert.equal(t.endpoint!.info().sendWindow, 20_001 - end!);
  const edges = t.drop().map(({ sequence, length }) => sequence + length);
  assert.ok(edges.length > 1);
  assert.ok(Math.max(...edges) <= 20_001, `${edges}`);
});

Deno.test("after the probe of a closed window, ACKs and resets keep the number that the peer takes (RFC 9293 §3.4)", () => {
  for (const wscale of [0, 7]) {
    const t = new Script({ windowScale: true });
    const endpoint = t.established(`S 0 mss 1460 wscale ${wscale}`);
    t.write(1_000);
    t.drop();
    t.in(". 1 ack 1001 win 0");
    t.write(5_000);
    t.wait(250);
    t.out(". 1001:1002 ack 1");
    t.in(". 1 ack 1001 win 0");
    t.in("P. 1:1001 ack 1001 win 0");
    t.out(". 1001 ack 1001");
    // The byte was taken after all.
    t.in("P. 1001:2001 ack 1002 win 0");
    t.out(". 1002 ack 2001");
    endpoint.abort();
    t.flush();
    t.out("R. 1002 ack 2001");
  }
});

Deno.test("a reset before any window was heard of has the number behind the SYN", () => {
  const t = new Script();
  const endpoint = t.connect();
  t.out("S 0");
  t.in("S 0 mss 1460");
  t.out("S. 0 ack 1");
  endpoint.abort();
  t.flush();
  t.out("R. 1 ack 1");
});

Deno.test("ACKs of a peer whose window shrank stay inside it; what its scale rounds off is no shrinking", () => {
  const t = new Script({ windowScale: true });
  t.established("S 0 mss 1460 wscale 7").setNoDelay(true);
  t.write(2_000);
  t.drop();
  t.in("P. 1:101 ack 1 win 15"); // 1,920
  t.out(". 2001 ack 101");
  t.in("P. 101:201 ack 1 win 10"); // 1,280
  t.out(". 1281 ack 201");
});

Deno.test("an old ACK does not bring an old window back (RFC 9293 §3.10.7.4)", () => {
  const t = new Script();
  t.established();
  t.write(1_000);
  t.in(". 1 ack 501 win 5000");
  t.in(". 1 ack 1001 win 9000");
  t.in(". 1 ack 501 win 1");
  assert.equal(t.endpoint!.info().sendWindow, 9_000);
});

Deno.test("writable is told after a short write, once there is room", () => {
  const t = new Script({ sendBuffer: 10_000, initialBuffer: 10_000 });
  const endpoint = t.established();
  assert.equal(t.write(12_000), 10_000);
  assert.equal(endpoint.writable, 0);
  t.drop();
  t.in(". 1 ack 1461");
  assert.deepEqual(t.events, ["connected"], "not for a segment alone");
  t.in(". 1 ack 4381");
  assert.deepEqual(t.events, ["connected", "writable"]);
  assert.equal(endpoint.writable, 4_380);
});

Deno.test("keepalive: 60 s idle, 30 s interval, 9 probes, then timeout (RFC 9293 §3.8.4)", () => {
  const t = new Script();
  const endpoint = t.established();
  endpoint.setKeepAlive({ idle: 60_000, interval: 30_000, count: 9 });
  t.flush();
  const start = t.now;
  t.wait(1_000_000);
  const sent = t.drop();
  assert.equal(sent.pop()!.flags, "R.");
  assert.deepEqual(
    sent.map(({ at, sequence, length, flags }) => [at - start, sequence, length, flags]),
    Array.from({ length: 9 }, (_, i) => [60_000 + 30_000 * i, 0, 0, "."]),
  );
  assert.deepEqual(t.events, ["connected", "closed: timeout"]);
});

Deno.test("keepalive: an answer starts the idle time anew", () => {
  const t = new Script({ keepAlive: { idle: 60_000, interval: 30_000, count: 9 } });
  t.established();
  for (let i = 0; i < 20; i++) {
    t.wait(60_000);
    t.out(". 0 ack 1");
    t.in(". 1 ack 1");
    t.quiet();
  }
  assert.equal(t.endpoint!.state, "established");
});

Deno.test("keepalive does not outlive its connection", () => {
  const t = new Script({ keepAlive: { idle: 1_000, interval: 1_000, count: 2 } });
  t.established().close();
  t.flush();
  t.in("F. 1 ack 2");
  t.drop();
  t.wait(10_000);
  t.quiet();
});

Deno.test("path MTU: too-big about a segment in flight makes smaller ones of it (RFC 1191 §6, RFC 5927 §7)", () => {
  const t = new Script();
  t.established();
  t.write(2_920);
  assert.equal(t.drop().length, 2);
  tooBig(t, 1000, t.iss! - 5_000);
  assert.equal(t.tcp.counters.icmpIgnored, 1);
  t.quiet();
  tooBig(t, 1000, t.iss! + 1);
  t.out(". 1:961");
  t.in(". 1 ack 961");
  t.out(". 961:1461");
  t.in(". 1 ack 2921");
  t.write(2_000);
  assert.ok(t.drop().every(({ length }) => length <= 960));
  tooBig(t, 1400, t.iss! + 2_921);
  assert.equal(t.endpoint!.info().mss, 960, "never up");
});

Deno.test("path MTU: absurd values are not believed (RFC 1191 §3)", () => {
  const t = new Script();
  t.established();
  t.write(2_920);
  t.drop();
  tooBig(t, 68, t.iss! + 1);
  assert.equal(t.endpoint!.info().mss, 552 - 40);
  tooBig(t, 0, t.iss! + 1);
  assert.equal(t.endpoint!.info().mss, 552 - 40);
});

Deno.test("a busy link loses nothing: what did not fit goes with a later flush", () => {
  const t = new Script();
  t.established();
  t.slots = 0;
  t.write(3_000);
  t.in("P. 1:101 ack 1");
  t.quiet();
  t.slots = 1;
  t.flush();
  const sent = t.drop();
  assert.deepEqual(sent.map(({ sequence, length, ack }) => [sequence, length, ack]), [
    [1, 1460, 101],
    [1461, 1460, 101],
  ]);
});

Deno.test("idle for longer than the RTO, the window starts anew (RFC 5681 §4.1)", () => {
  const t = new Script();
  t.established();
  for (let i = 0; i < 8; i++) {
    t.write(29_200);
    for (let sent = t.drop(); sent.length > 0; sent = t.drop()) {
      t.in(`. 1 ack ${sent.at(-1)!.sequence + sent.at(-1)!.length}`);
    }
  }
  assert.equal(t.endpoint!.unacknowledged, 0);
  assert.ok(t.endpoint!.info().congestionWindow > 20_000);
  t.wait(10_000);
  t.write(60_000);
  assert.equal(t.drop().length, 10);
});

Deno.test("IPv6 has the same TCP: MSS 1440, its own pseudo header", async () => {
  const { TcpHost } = await import("./host.ts");
  const { Sim } = await import("../../sim/network.ts");
  const address = (last: number) => {
    const bytes = new Uint8Array(16);
    bytes[0] = 0xfd;
    bytes[15] = last;
    return new IpAddress(bytes);
  };
  const sim = new Sim(1);
  const link = sim.link();
  const a = new TcpHost({ link: link.a, address: address(1), seed: 1 });
  const b = new TcpHost({ link: link.b, address: address(2), seed: 2 });
  for (const [port, host] of [[link.a, a], [link.b, b]] as const) {
    port.receive = host.receive;
    sim.addHost(host);
  }
  b.tcp.listen({ port: PORT }, { accepted: (endpoint) => endpoint.write(new Uint8Array(5)) });
  const endpoint = a.tcp.connect({ remote: address(2), remotePort: PORT }, sim.now);
  assert.ok(sim.runUntil(() => endpoint.readable === 5, 1_000));
  assert.equal(endpoint.info().mss, 1440 - 12);
});

function tooBig(t: Script, mtu: number, sequence: number): void {
  const quoted = new Uint8Array(28);
  quoted.set(HOST.bytes, 12);
  quoted.set(PEER.bytes, 16);
  const view = new DataView(quoted.buffer);
  view.setUint16(20, PORT);
  view.setUint16(22, PEER_PORT);
  view.setInt32(24, sequence);
  t.tcp.handleIcmpError("too-big", mtu, 4, quoted, 12, 16, 20, 8, t.now);
  t.flush();
}
