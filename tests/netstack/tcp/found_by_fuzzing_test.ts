import assert from "node:assert/strict";
import { Script } from "./script.ts";

Deno.test("a reset leaves an end of file that had arrived, behind the data", () => {
  const t = new Script();
  const endpoint = t.established();
  t.noQuickAcks();
  t.in("PF. 17:1017 ack 1");
  assert.equal(endpoint.readable, 1000);
  t.in("R. 1018 ack 1");
  assert.equal(endpoint.error!.kind, "reset");
  assert.ok(!endpoint.endOfFile);
  t.read(17, 1017);
  assert.ok(endpoint.endOfFile);
  assert.equal(t.error!.kind, "reset");
});

Deno.test("a reset after everything was read takes the end of file back from nobody", () => {
  const t = new Script();
  const endpoint = t.established();
  t.noQuickAcks();
  t.in("PF. 17:1017 ack 1");
  t.read(17, 1017);
  assert.ok(endpoint.endOfFile);
  t.in("R. 1018 ack 1");
  assert.equal(t.error!.kind, "reset");
  assert.ok(endpoint.endOfFile);
});

Deno.test("a buffer smaller than one unit of the window scale does not announce zero for ever", () => {
  const t = new Script({ windowScale: true, receiveBuffer: 1 << 20, initialBuffer: 8 });
  t.listen();
  t.in("S 0 mss 1460 wscale 7");
  t.out("S. 0 ack 1 wscale 5");
  t.in(". 1 ack 1");
  for (let at = 1; at < 200; at++) {
    t.in(`P. ${at}:${at + 1} ack 1`);
    t.read(at, at + 1);
    t.wait(40);
    const acks = t.drop();
    assert.equal(acks.at(-1)?.ack, at + 1);
    assert.ok(acks.at(-1)!.win > 0, `closed at ${at}, with nothing left to read`);
  }
});

Deno.test("a peer that keeps talking does not put off the use of a window that stays small (RFC 9293 §3.8.6.2.1)", () => {
  const t = new Script();
  t.established();
  t.write(1_000);
  t.drop();
  t.in(". 1 ack 1001 win 12");
  t.write(2_000);
  t.quiet();
  // As answers to keepalives do, more often than the timer expires.
  for (let i = 0; i < 10; i++) {
    t.wait(100);
    t.in(". 1 ack 1001 win 12");
  }
  const sent = t.drop().filter(({ length }) => length > 0);
  assert.ok(sent.length > 0, "the override timer has not expired within ten times its time");
  assert.deepEqual([sent[0]!.sequence, sent[0]!.length], [1001, 12]);
});
