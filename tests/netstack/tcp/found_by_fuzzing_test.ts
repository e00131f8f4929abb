import assert from "node:assert/strict";
import { Script } from "./script.ts";

Deno.test("a reset that takes unread data with it leaves no end of file", () => {
  const t = new Script();
  const endpoint = t.established();
  t.noQuickAcks();
  t.in("PF. 17:1017 ack 1");
  assert.equal(endpoint.readable, 1000);
  t.in("R. 1018 ack 1");
  assert.equal(t.error!.kind, "reset");
  assert.equal(endpoint.readable, 0);
  assert.ok(!endpoint.endOfFile, "who reads late must not take this for the end of the data");
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
