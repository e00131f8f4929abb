import assert from "node:assert/strict";
import { Script, type ScriptOptions } from "./script.ts";

/** An established connection with a round trip of 100 ms and `segments` in flight. */
function flight(segments: number, options: ScriptOptions = {}): Script {
  const t = new Script({ sack: true, ...options });
  t.listen();
  t.in("S 0 mss 1460 sackok");
  t.wait(100);
  t.in(". 1 ack 1");
  t.drop();
  t.endpoint!.setNoDelay(true);
  t.write(1460 * segments);
  assert.equal(t.drop().length, segments);
  return t;
}

Deno.test("RACK: fewer than three SACKed segments repair a loss after the reordering window (RFC 8985 §6.2)", () => {
  const t = flight(3);
  t.wait(100);
  t.in(". 1 ack 1 sack 1461:4381");
  t.quiet();
  t.wait(24);
  t.quiet();
  // A quarter of the round trip.
  t.wait(2);
  t.out(". 1:1461");
  assert.equal(t.endpoint!.info().timeouts, 0);
});

Deno.test("RACK: a segment that is only late is not sent again (RFC 8985 §3.3.2)", () => {
  const t = flight(3);
  t.wait(100);
  t.in(". 1 ack 1 sack 1461:4381");
  t.wait(20);
  t.in(". 1 ack 4381");
  t.wait(500);
  t.quiet();
  assert.equal(t.endpoint!.info().retransmits, 0);
});

Deno.test("RACK: after reordering was seen, three SACKed segments are no proof of loss (RFC 8985 §6.2 step 4)", () => {
  const t = flight(10);
  t.wait(100);
  // The second overtakes the first.
  t.in(". 1 ack 1 sack 1461:2921");
  t.in(". 1 ack 2921");
  t.in(". 1 ack 2921 sack 4381:10221");
  t.quiet();
  t.wait(26);
  t.out(". 2921:4381");
});

Deno.test("RACK: without reordering, three SACKed segments are (RFC 8985 §6.2 step 4)", () => {
  const t = flight(10);
  t.wait(100);
  t.in(". 1 ack 1 sack 1461:5841");
  t.out(". 1:1461");
});

Deno.test("RACK: duplicates that the receiver reports widen the reordering window (RFC 8985 §6.2 step 4)", () => {
  const t = flight(10);
  t.wait(100);
  t.in(". 1 ack 1 sack 1461:2921");
  t.in(". 1 ack 2921");
  t.in(". 1 ack 2921 sack 4381:10221");
  t.wait(26);
  t.out(". 2921:4381");
  t.wait(10);
  // It was late by 36 ms: the original arrives, and then the copy.
  t.in(". 1 ack 14601");
  t.wait(60);
  t.in(". 1 ack 14601 sack 2921:4381");
  t.write(14_600);
  assert.equal(t.drop().length, 10);
  t.wait(100);
  t.in(". 1 ack 14601 sack 16061:20441");
  t.wait(45);
  t.quiet();
  t.wait(10);
  t.out(". 14601:16061");
});

Deno.test("RACK can be turned off: then duplicates are counted (RFC 6675 §4)", () => {
  const t = flight(3, { rack: false });
  t.wait(100);
  t.in(". 1 ack 1 sack 1461:4381");
  t.wait(100);
  t.quiet();
});

Deno.test("tail loss probe: the last segment goes again after two round trips, and costs no window (RFC 8985 §7)", () => {
  const t = flight(5, { minRtoMs: 1_000 });
  t.wait(199);
  t.quiet();
  t.wait(2);
  t.out(". 5841:7301");
  // It arrives and shows what is missing; RACK repairs that.
  t.wait(100);
  t.in(". 1 ack 4381 sack 5841:7301");
  t.wait(26);
  t.out(". 4381:5841");
  t.wait(100);
  t.in(". 1 ack 7301");
  assert.equal(t.endpoint!.info().timeouts, 0);
  assert.ok(t.endpoint!.info().congestionWindow > 2 * 1460);
});

Deno.test("tail loss probe: new data instead of a repetition, if there is any (RFC 8985 §7.3)", () => {
  const t = flight(10, { minRtoMs: 1_000 });
  t.write(1_460);
  // Beyond the window by one segment.
  t.quiet();
  t.wait(201);
  t.out(". 14601:16061");
});

Deno.test("tail loss probe: one only, then the timeout (RFC 8985 §7.2)", () => {
  const t = flight(5, { minRtoMs: 1_000 });
  t.wait(900);
  assert.equal(t.drop().length, 1);
  t.wait(600);
  t.out(". 1:1461");
  assert.equal(t.endpoint!.info().timeouts, 1);
});

Deno.test("tail loss probe: a loss that it repaired by itself is congestion (RFC 8985 §7.4)", () => {
  const t = flight(5, { minRtoMs: 1_000 });
  const { congestionWindow } = t.endpoint!.info();
  t.in(". 1 ack 5841");
  t.wait(500);
  t.out(". 5841:7301");
  t.write(100);
  t.drop();
  t.wait(100);
  t.in(". 1 ack 7401");
  assert.ok(t.endpoint!.info().congestionWindow < congestionWindow);
});

Deno.test("tail loss probe: if only the ACK was lost, D-SACK says so and nothing is reduced (RFC 8985 §7.4)", () => {
  const t = flight(5, { minRtoMs: 1_000 });
  const { congestionWindow } = t.endpoint!.info();
  t.wait(201);
  t.out(". 5841:7301");
  t.wait(100);
  t.in(". 1 ack 7301 sack 5841:7301");
  assert.ok(t.endpoint!.info().congestionWindow >= congestionWindow);
});

Deno.test("a retransmission that was a duplicate gives the window back, without timestamps, too (RFC 3708 §3)", () => {
  const t = flight(10);
  const { congestionWindow } = t.endpoint!.info();
  t.wait(100);
  t.in(". 1 ack 1 sack 1461:5841");
  t.out(". 1:1461");
  t.in(". 1 ack 14601");
  assert.ok(t.endpoint!.info().congestionWindow < congestionWindow);
  t.wait(100);
  t.in(". 1 ack 14601 sack 1:1461");
  assert.ok(t.endpoint!.info().congestionWindow >= congestionWindow);
  assert.equal(t.endpoint!.info().spurious, 1);
});
