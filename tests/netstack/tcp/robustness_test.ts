/** What others shipped as bugs: each is a test here. */
import assert from "node:assert/strict";
import { ChallengeLimiter } from "../../../netstack/tcp/challenge.ts";
import * as header from "../../../netstack/tcp/header.ts";
import { PEER, Script } from "./script.ts";

Deno.test("RST is believed only with the exact sequence number; in the window it is challenged (RFC 5961 §3.2)", () => {
  const t = new Script();
  t.established();
  t.in("R 2");
  t.out(". 1 ack 1");
  t.in("R 60000");
  t.out(". 1 ack 1");
  t.in("R 70000");
  t.in("R 0");
  t.quiet();
  assert.equal(t.endpoint!.state, "established");
  t.in("R 1");
  assert.equal(t.endpoint!.state, "closed");
});

Deno.test("SYN on a connection is challenged, whatever its number (RFC 5961 §4.2)", () => {
  const t = new Script();
  t.established();
  t.in("S 1 mss 1460");
  t.out(". 1 ack 1");
  t.in("S 5000 mss 1460");
  t.out(". 1 ack 1");
  t.in("S -5000 mss 1460");
  t.out(". 1 ack 1");
  assert.equal(t.endpoint!.state, "established");
});

Deno.test("an ACK of what was never sent, or long ago, is challenged and its data dropped (RFC 5961 §5.2)", () => {
  const t = new Script();
  t.established();
  t.in("P. 1:101 ack 500");
  t.out(". 1 ack 1");
  t.in("P. 1:101 ack -70000");
  t.out(". 1 ack 1");
  assert.deepEqual([t.endpoint!.readable, t.tcp.counters.badAck], [0, 2]);
});

Deno.test("SYN with FIN opens nothing, and nothing about it is answered", () => {
  const t = new Script();
  t.listen();
  t.in("SF 0 mss 1460");
  t.in("SF. 0 ack 1 mss 1460");
  t.port = 81; // where nobody listens
  t.in("SF 0 mss 1460");
  t.quiet();
  assert.deepEqual([t.tcp.connectionCount, t.tcp.counters.badFlags], [0, 3]);

  // While our own SYN waits for its answer.
  const active = new Script();
  const endpoint = active.connect();
  active.out("S 0");
  active.in("SF. 0 ack 1 mss 1460");
  active.in("SF 0 mss 1460");
  active.quiet();
  assert.equal(endpoint.state, "syn-sent");
  assert.equal(active.tcp.counters.badFlags, 2);

  // While the peer's does.
  const passive = new Script();
  passive.listen();
  passive.in("S 0 mss 1460");
  passive.out("S. 0 ack 1");
  passive.in("SF 0 mss 1460");
  passive.in("SF 5 mss 1460");
  passive.quiet();
  assert.equal(passive.tcp.counters.badFlags, 2);
  passive.in(". 1 ack 1");
  assert.equal(passive.endpoint!.state, "established");

  // In TIME-WAIT, where a SYN with that number would begin a new connection.
  passive.endpoint!.shutdownWrite();
  passive.flush();
  passive.out("F. 1 ack 1");
  passive.in("F. 1 ack 2");
  passive.out(". 2 ack 2");
  passive.in("SF 1000 mss 1460");
  passive.quiet();
  assert.deepEqual([passive.tcp.timeWaitCount, passive.tcp.counters.badFlags], [1, 3]);
});

Deno.test("challenge ACKs are limited to a number that changes (RFC 5961 §10, CVE-2016-5696)", () => {
  const t = new Script({ challengeAcksPerSecond: 10 });
  t.established();
  const counts = new Set<number>();
  for (let second = 0; second < 20; second++) {
    for (let i = 0; i < 50; i++) t.in("R 2");
    const count = t.drop().length;
    assert.ok(count >= 5 && count <= 15, `${count}`);
    counts.add(count);
    t.wait(1_000);
  }
  assert.ok(counts.size > 3, `always one of ${[...counts]}`);
});

Deno.test("the limiter's second is not aligned with anybody's clock", () => {
  const limiter = new ChallengeLimiter(1, (out) => out.fill(255));
  assert.deepEqual([limiter.take(100), limiter.take(100), limiter.take(1_099)], [
    true,
    true,
    false,
  ]);
  assert.equal(limiter.take(1_100), true);
});

Deno.test("SegmentSmack: tiny segments out of order stay within a number of ranges (CVE-2018-5390)", () => {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok");
  for (let i = 0; i < 10_000; i++) t.deliver(`. ${3 + 2 * i}:${4 + 2 * i} ack 1`);
  t.flush();
  assert.equal(t.endpoint!.info().outOfOrderRanges, 256);
  assert.ok(t.tcp.counters.outOfOrderPruned > 9_000);
  t.in(". 1:1461 ack 1");
  t.read(1, 1461);
});

Deno.test("what waits out of order takes no more than the window announced, and all of it", () => {
  const t = new Script({ receiveBuffer: 8_000, initialBuffer: 8_000 });
  t.established();
  for (let i = 1; i < 12; i++) t.in(`. ${1 + 1_000 * i}:${1_001 + 1_000 * i} ack 1`);
  assert.equal(t.tcp.counters.outOfOrderPruned, 0);
  assert.ok(t.endpoint!.info().bufferBytes <= 8_192);
  t.in(". 1:1001 ack 1");
  t.read(1, 8_001);
});

Deno.test("SACK Panic: an absurd MSS does not multiply our segments (CVE-2019-11477, -11479)", () => {
  for (const mss of [0, 1, 8, 48]) {
    const t = new Script();
    t.listen();
    t.in(`S 0 mss ${mss}`);
    t.out("S. 0 ack 1");
    t.in(". 1 ack 1");
    t.write(200);
    assert.ok(t.drop()[0]!.length >= 88);
  }
});

Deno.test("an MSS of 0 is none, and gives 536 bytes; one of 1 gives 88", () => {
  for (const [mss, size] of [[0, 536], [1, 88]] as const) {
    const t = new Script();
    t.listen();
    t.in(`S 0 mss ${mss}`);
    t.out("S. 0 ack 1");
    t.in(". 1 ack 1");
    t.write(20_000);
    let taken = 0;
    while (taken < 20_000) {
      const segments = t.drop();
      assert.ok(segments.length > 0, `${taken} bytes`);
      for (const { length } of segments) {
        taken += length;
        assert.ok(length === size || taken === 20_000, `a segment of ${length} bytes, MSS ${mss}`);
      }
      t.in(`. 1 ack ${1 + taken}`);
    }
    assert.equal(taken, 20_000);
  }
});

Deno.test("without an MSS option 536 bytes are assumed (RFC 9293 §3.7.1)", () => {
  const t = new Script();
  t.listen();
  t.in("S 0");
  t.out("S. 0 ack 1");
  t.in(". 1 ack 1");
  t.write(1_000);
  t.out(". 1:537");
});

Deno.test("options of length 0, 1 or past the header end the parsing, not the process", () => {
  const segment = new header.Segment();
  for (
    const options of [[2, 0, 5, 180], [2, 1, 5, 180], [254, 250, 0, 0], [1, 1, 1, 8], [5, 2, 5, 3]]
  ) {
    const bytes = new Uint8Array(24);
    bytes[header.DATA_OFFSET] = 6 << 4;
    bytes[header.FLAGS] = header.SYN;
    bytes.set(options, 20);
    assert.ok(segment.parse(bytes, 0, 24));
    assert.deepEqual([segment.mss, segment.windowScale, segment.sackCount, segment.length], [
      0,
      -1,
      0,
      0,
    ]);
  }
});

Deno.test("headers that lie about their length are dropped and counted", () => {
  const segment = new header.Segment();
  const bytes = new Uint8Array(40);
  for (const [offset, length] of [[4, 40], [15, 40], [5, 19], [6, 23], [0, 40]]) {
    bytes[header.DATA_OFFSET] = offset! << 4;
    assert.equal(segment.parse(bytes, 0, length!), false);
  }
  const t = new Script();
  t.listen();
  const { buffer, length } = t.encode("S 0");
  buffer[20 + header.DATA_OFFSET] = 0xf0;
  t.host.receive(buffer, 0, length, t.now);
  buffer[20 + header.DATA_OFFSET] = 0x50;
  buffer[30]! ^= 1;
  t.host.receive(buffer, 0, length, t.now);
  assert.deepEqual([t.tcp.counters.malformed, t.tcp.counters.badChecksum], [1, 1]);
});

Deno.test("a window scale above 14 counts as 14 (RFC 7323 §2.3)", () => {
  const t = new Script({ windowScale: true });
  t.listen();
  t.in("S 0 mss 1460 wscale 200");
  t.drop();
  t.in(". 1 ack 1 win 1");
  assert.equal(t.endpoint!.info().sendWindow, 1 << 14);
});

Deno.test("sequence numbers pass 2^32 in both directions", () => {
  for (const irs of [0xffff_ff00, 0x7fff_ff00, 0xffff_ffff, 0x7fff_ffff]) {
    const t = new Script({ irs, sack: true });
    t.established("S 0 mss 1460 sackok");
    t.in(". 1001:2001 ack 1");
    t.out(". 1 ack 1 sack 1001:2001");
    t.in(". 1:1001 ack 1");
    t.out(". 1 ack 2001");
    t.read(1, 2001);
    t.in("F. 2001 ack 1");
    t.out(". 1 ack 2002");
    // Ours are random: whatever they are, a long transfer passes some boundary in some run.
    t.write(14_600);
    assert.equal(t.drop().length, 10);
    t.in(". 2002 ack 14601");
    assert.equal(t.endpoint!.unacknowledged, 0);
  }
});

Deno.test("initial sequence numbers, timestamps and ports differ by key, peer and port (RFC 6528, RFC 6056)", () => {
  const seen = new Set<number>();
  const ports = new Set<number>();
  const t = new Script({ timestamps: true });
  const clocks = new Set<number>();
  for (let i = 0; i < 50; i++) {
    const endpoint = t.tcp.connect({ remote: PEER, remotePort: 1 + i }, t.now);
    ports.add(endpoint.localPort);
    assert.ok(endpoint.localPort >= 49_152);
  }
  t.flush();
  for (const { rawSequence, ts } of t.drop()) {
    seen.add(rawSequence >>> 16);
    clocks.add(ts![0] >>> 16);
  }
  assert.ok(seen.size > 45 && clocks.size > 45 && ports.size > 45);
});

Deno.test("one 4-tuple's sequence numbers go up with time (RFC 6528 §3)", () => {
  const t = new Script();
  const first = t.connect();
  t.drop();
  const iss = t.iss!;
  first.abort();
  t.flush();
  t.now += 1_000;
  t.tcp.connect(
    { remote: first.remote, remotePort: first.remotePort, localPort: first.localPort },
    t.now,
  );
  t.flush();
  assert.equal((t.drop()[0]!.rawSequence - iss) | 0, 250_000);
});

Deno.test("a write of nothing sends nothing", () => {
  const t = new Script();
  const endpoint = t.established();
  assert.equal(endpoint.write(new Uint8Array(0)), 0);
  t.flush();
  t.quiet();
  assert.deepEqual(t.events, ["connected"]);
});

Deno.test("a segment after the end is answered with RST and brings nothing back", () => {
  const t = new Script();
  t.established().abort();
  t.flush();
  t.drop();
  t.in("P. 1:101 ack 1");
  t.out("R 1");
  assert.equal(t.tcp.connectionCount, 0);
});

Deno.test("SACK blocks that lie are ignored", () => {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok");
  t.write(5_840);
  t.drop();
  t.in(". 1 ack 1 sack 5000:90000 -500:100 3000:2000");
  t.in(". 1 ack 1461 sack 1:1461 1461:1461");
  assert.deepEqual([t.endpoint!.info().retransmits, t.endpoint!.info().inFlight], [0, 4_380]);
  t.in(". 1 ack 5841");
  assert.equal(t.endpoint!.info().inFlight, 0);
});

Deno.test("the congestion window does not overflow", () => {
  const t = new Script();
  t.established();
  for (let i = 0; i < 2_000; i++) {
    t.write(65_536);
    for (let sent = t.drop(); sent.length > 0; sent = t.drop()) {
      t.in(`. 1 ack ${sent.at(-1)!.sequence + sent.at(-1)!.length}`);
    }
  }
  const { congestionWindow } = t.endpoint!.info();
  assert.ok(Number.isSafeInteger(congestionWindow) && congestionWindow < 2 ** 31);
});

Deno.test("a round-trip time of nothing stalls nothing", () => {
  const t = new Script({ minRtoMs: 1 });
  t.established();
  t.write(1_460);
  t.drop();
  t.wait(130);
  // 1, 2, 4 … 64 ms apart.
  assert.equal(t.drop().length, 7);
  t.in(". 1 ack 1461");
  t.write(10);
  t.out("P. 1461:1471");
});

Deno.test("idle connections hold no buffers", () => {
  const t = new Script({ keepAlive: { idle: 1_000, interval: 1_000, count: 9 } });
  const endpoint = t.established();
  assert.equal(endpoint.info().bufferBytes, 0);
  t.in("P. 1:101 ack 1");
  t.read(1, 101);
  t.write(100);
  t.in(". 101 ack 101");
  assert.ok(endpoint.info().bufferBytes <= 8_192);
  t.wait(1_000);
  assert.equal(endpoint.info().bufferBytes, 0);
});

Deno.test("read and write refuse ranges outside of the buffer", () => {
  const endpoint = new Script().established();
  const buffer = new Uint8Array(10);
  for (const [offset, length] of [[-1, 1], [0, 11], [11, 0], [5, NaN], [3, -1]]) {
    assert.throws(() => endpoint.read(buffer, offset, length), RangeError);
    assert.throws(() => endpoint.write(buffer, offset, length), RangeError);
  }
});
