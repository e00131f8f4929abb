import assert from "node:assert/strict";
import { Script } from "./script.ts";

Deno.test("delayed ACK: every second full segment at once, one alone after 40 ms (RFC 9293 §3.8.6.3)", () => {
  const t = new Script();
  t.established();
  t.noQuickAcks();
  t.in("P. 17:1477 ack 1");
  t.quiet();
  t.wait(39);
  t.quiet();
  t.wait(1);
  t.out(". 1 ack 1477");
  t.in(". 1477:2937 ack 1");
  t.quiet();
  t.in(". 2937:4397 ack 1");
  t.out(". 1 ack 4397");
});

Deno.test("segments of one drain get an ACK for every four, at most four ACKs", () => {
  const t = new Script();
  t.established();
  let sequence = 1;
  const deliver = (segments: number) => {
    for (let i = 0; i < segments; i++, sequence += 1460) {
      t.deliver(`. ${sequence}:${sequence + 1460} ack 1`);
    }
    t.flush();
  };
  deliver(3);
  t.out(". 1 ack 4381");
  t.quiet();
  deliver(10);
  t.out(". 1 ack 10221");
  t.out(". 1 ack 16061");
  t.out(". 1 ack 18981");
  t.quiet();
  t.endpoint!.read(new Uint8Array(100_000));
  t.flush();
  t.drop();
  const edge = 18_981 + t.endpoint!.info().receiveWindow;
  deliver(20);
  const acks = t.drop();
  assert.deepEqual(acks.map(({ ack }) => (ack - 18_981) / 1460), [5, 10, 15, 20]);
  for (const { ack, win } of acks) assert.ok(ack + win >= edge, "the window does not shrink");
});

Deno.test("segments out of order in one drain are reported by up to three ACKs, older blocks first", () => {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok");
  t.deliver(". 101:201 ack 1");
  t.flush();
  t.out(". 1 ack 1 sack 101:201");
  t.quiet();
  for (let i = 1; i <= 10; i++) t.deliver(`. ${1 + 200 * i}:${101 + 200 * i} ack 1`);
  t.flush();
  t.out(". 1 ack 1 sack 401:501 101:301");
  t.out(". 1 ack 1 sack 1201:1301 1001:1101 801:901 601:701");
  t.out(". 1 ack 1 sack 2001:2101 1801:1901 1601:1701 1401:1501");
  t.quiet();
});

Deno.test("an ACK that waits travels with data", () => {
  const t = new Script();
  t.established();
  t.noQuickAcks();
  t.in("P. 17:117 ack 1");
  t.quiet();
  t.write(50);
  t.out("P. 1:51 ack 117");
  t.wait(100);
  t.quiet();
});

Deno.test("a gap and its filling are acknowledged at once (RFC 5681 §4.2)", () => {
  const t = new Script();
  t.established();
  t.noQuickAcks();
  t.in(". 1477:2937 ack 1");
  t.out(". 1 ack 17");
  t.in(". 2937:4397 ack 1");
  t.out(". 1 ack 17");
  t.in(". 17:1477 ack 1");
  t.out(". 1 ack 4397");
  t.read(1 + 16, 4397);
});

Deno.test("SACK blocks: latest first, at most three beside timestamps (RFC 2018 §4)", () => {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok");
  t.in(". 101:201 ack 1");
  t.out(". 1 ack 1 sack 101:201");
  t.in(". 301:401 ack 1");
  t.out(". 1 ack 1 sack 301:401 101:201");
  t.in(". 501:601 ack 1");
  t.out(". 1 ack 1 sack 501:601 301:401 101:201");
  t.in(". 201:301 ack 1");
  t.out(". 1 ack 1 sack 101:401 501:601");
  t.in(". 1:101 ack 1");
  t.out(". 1 ack 401 sack 501:601");
  t.in(". 401:501 ack 1");
  t.out(". 1 ack 601 nosack");
  t.read(1, 601);
});

Deno.test("a duplicate is reported by D-SACK (RFC 2883 §4)", () => {
  const t = new Script({ sack: true });
  t.established("S 0 mss 1460 sackok");
  t.in(". 1:101 ack 1");
  t.out(". 1 ack 101 nosack");
  t.in(". 1:101 ack 1");
  t.out(". 1 ack 101 sack 1:101");
  t.in(". 201:301 ack 1");
  t.out(". 1 ack 101 sack 201:301");
  t.in(". 201:301 ack 1");
  t.out(". 1 ack 101 sack 201:301 201:301");
});

Deno.test("segments outside of the window are answered with an ACK and dropped (RFC 9293 §3.10.7.4)", () => {
  const t = new Script();
  t.established();
  t.in("P. 70000:70100 ack 1");
  t.out(". 1 ack 1");
  t.in("P. -100:0 ack 1");
  t.out(". 1 ack 1");
  assert.equal(t.endpoint!.readable, 0);
  assert.equal(t.tcp.counters.outOfWindow, 2);
});

Deno.test("a segment that reaches over both edges is cut to the window", () => {
  const t = new Script({ receiveBuffer: 1000 });
  t.established();
  t.in(". 1:101 ack 1");
  t.read(1, 101);
  t.drop();
  t.in("F. 51:1460 ack 1");
  const sent = t.drop().at(-1)!;
  assert.equal(sent.ack, 1 + t.endpoint!.readable + 100);
  assert.ok(t.endpoint!.readable <= 1000);
  assert.equal(t.endpoint!.state, "established", "a FIN beyond the window does not count");
});

Deno.test("overlapping segments give each byte once", () => {
  const t = new Script();
  t.established();
  t.in(". 51:151 ack 1");
  t.in(". 101:251 ack 1");
  t.in(". 31:61 ack 1");
  t.in(". 1:41 ack 1");
  t.read(1, 251);
});

Deno.test("the window closes with what is unread and reopens by half a buffer or a segment (RFC 9293 §3.8.6.2.2)", () => {
  const t = new Script({ receiveBuffer: 4000, initialBuffer: 4000 });
  const endpoint = t.established();
  t.in(". 1:1001 ack 1");
  t.out(". 1 ack 1001 win 3000");
  t.in(". 1001:2001 ack 1");
  t.out(". 1 ack 2001 win 2000");
  t.in(". 2001:4001 ack 1");
  t.out(". 1 ack 4001 win 0");
  endpoint.read(new Uint8Array(500));
  t.flush();
  t.quiet();
  endpoint.read(new Uint8Array(1500));
  t.flush();
  t.out(". 1 ack 4001 win 2000");
});

Deno.test("the right edge of the window never moves left (RFC 9293 §3.8.6)", () => {
  const t = new Script({ receiveBuffer: 8000, initialBuffer: 8000 });
  const endpoint = t.established();
  let edge = 0;
  let next = 1;
  for (let i = 0; i < 200; i++) {
    const length = 1 + (i * 37) % 700;
    t.in(`P. ${next}:${next + length} ack 1`);
    if (i % 3 === 0) endpoint.read(new Uint8Array(1 + (i * 53) % 2000));
    t.flush();
    for (const { ack, win } of t.drop()) {
      assert.ok(ack + win >= edge, `${ack + win} after ${edge}`);
      edge = ack + win;
      next = ack;
    }
  }
});

Deno.test("a probe of the closed window is answered with its size and not taken (RFC 9293 §3.8.6.1)", () => {
  const t = new Script({ receiveBuffer: 2000, initialBuffer: 2000 });
  t.established();
  t.in(". 1:2001 ack 1");
  t.out(". 1 ack 2001 win 0");
  t.in(". 2001:2002 ack 1");
  t.out(". 1 ack 2001 win 0");
  t.wait(1_000);
  t.in(". 2000 ack 1");
  t.out(". 1 ack 2001 win 0");
  assert.equal(t.endpoint!.readable, 2000);
});

Deno.test("while the window is closed, ACKs still count (RFC 9293 §3.10.7.4)", () => {
  const t = new Script({ receiveBuffer: 2000, initialBuffer: 2000 });
  const endpoint = t.established();
  t.write(100);
  t.out("P. 1:101");
  t.in(". 1:2001 ack 1");
  t.out(". 101 ack 2001 win 0");
  t.in(". 2001:2101 ack 101");
  assert.equal(endpoint.unacknowledged, 0);
});

Deno.test("while the window is closed, ACKs of a peer that has probed it count, too (RFC 9293 §3.10.7.4)", () => {
  const t = new Script({ receiveBuffer: 2000, initialBuffer: 2000 });
  const endpoint = t.established();
  t.write(100);
  t.out("P. 1:101");
  t.in(". 1:2001 ack 1");
  t.out(". 101 ack 2001 win 0");
  t.in(". 2001:2002 ack 1");
  t.out(". 101 ack 2001 win 0");
  // Its SND.NXT is behind the probe now.
  t.in(". 2002 ack 101");
  assert.equal(endpoint.unacknowledged, 0);
  t.write(100);
  t.out("P. 101:201");
  t.in(". 2003 ack 201");
  assert.equal(endpoint.unacknowledged, 100, "further ahead it is out of the window");
});

Deno.test("PAWS: an old timestamp is answered and dropped (RFC 7323 §5.3)", () => {
  const t = new Script({ timestamps: true });
  t.established("S 0 mss 1460 ts 100 0");
  t.in("P. 1:101 ack 1 ts 200 0");
  t.out(". 1 ack 101");
  t.in("P. 101:201 ack 1 ts 150 0");
  t.out(". 1 ack 101");
  assert.equal(t.tcp.counters.paws, 1);
  t.in("P. 101:201 ack 1 ts 200 0");
  t.out(". 1 ack 201");
});

Deno.test("PAWS is off for a connection idle for 24 days (RFC 7323 §5.5)", () => {
  const t = new Script({ timestamps: true });
  t.established("S 0 mss 1460 ts 100 0");
  t.wait(25 * 86_400_000);
  t.in("P. 1:101 ack 1 ts 50 0");
  t.out(". 1 ack 101");
});

Deno.test("segments without the timestamps agreed on are taken as Linux takes them; ours have them", () => {
  const t = new Script({ timestamps: true });
  t.listen();
  t.in("S 0 mss 1460 ts 100 0");
  t.out("S. 0 ack 1");
  // From the ACK of the handshake on, as behind a middlebox that strips the option.
  t.in(". 1 ack 1");
  t.in("P. 1:101 ack 1");
  assert.equal(t.out(". 1 ack 101").ts![1], 100);
  assert.equal(t.tcp.counters.withoutTimestamp, 2);
  t.write(50);
  assert.equal(t.out("P. 1:51 ack 101").ts![1], 100);
  t.in(". 101 ack 51");
  assert.equal(t.endpoint!.unacknowledged, 0);
  // What is too old still is, when it says so.
  t.in("P. 101:201 ack 51 ts 99 0");
  t.out(". 51 ack 101");
  assert.equal(t.tcp.counters.paws, 1);
  t.in("R 101");
  assert.equal(t.endpoint!.state, "closed");
});

Deno.test("the timestamp echoed is that of the segment which advanced the window (RFC 7323 §4.3)", () => {
  const t = new Script({ timestamps: true });
  t.established("S 0 mss 1460 ts 100 0");
  t.in(". 1:101 ack 1 ts 110 0");
  assert.equal(t.out(". 1 ack 101").ts![1], 110);
  // Out of order: the echo stays that of the last segment in order.
  t.in(". 201:301 ack 1 ts 130 0");
  assert.equal(t.out(". 1 ack 101").ts![1], 110);
  t.in(". 101:201 ack 1 ts 120 0");
  assert.equal(t.out(". 1 ack 301").ts![1], 120);
});

Deno.test("window scale: windows are announced shifted, never in a SYN (RFC 7323 §2.2)", () => {
  const t = new Script({ windowScale: true, receiveBuffer: 1 << 20, initialBuffer: 1 << 20 });
  t.listen();
  t.in("S 0 mss 1460 wscale 7");
  t.out("S. 0 ack 1 wscale 5 win 65535");
  t.in(". 1 ack 1");
  t.in("P. 1:101 ack 1");
  t.out(`. 1 ack 101 win ${((1 << 20) - 100) >> 5}`);
});

Deno.test("the receive window grows while the application keeps up, and only then", () => {
  const t = new Script({ windowScale: true });
  t.listen();
  t.in("S 0 mss 1460 wscale 7");
  t.wait(10);
  t.in(". 1 ack 1");
  const grow = (read: boolean) => {
    let next = 1 + t.endpoint!.info().bytesIn;
    for (let i = 0; i < 400; i++) {
      t.now += 0.1;
      if (t.endpoint!.info().receiveWindow < 1460) break;
      t.in(`. ${next}:${next + 1460} ack 1`);
      next += 1460;
      if (read) t.endpoint!.read(new Uint8Array(1 << 16));
      t.flush();
    }
    return t.endpoint!.info();
  };
  assert.ok(grow(true).receiveWindow > 500_000);
  const fresh = new Script({ windowScale: true });
  fresh.established("S 0 mss 1460 wscale 7");
  for (let next = 1; fresh.endpoint!.info().receiveWindow >= 1460; next += 1460) {
    fresh.now += 0.1;
    fresh.in(`. ${next}:${next + 1460} ack 1`);
  }
  assert.ok(fresh.endpoint!.readable <= 1 << 16, "nobody reads: no more than at the start");
});
