import assert from "node:assert/strict";
import { SendResult } from "../../wireguard/mod.ts";
import { ipv4Packet, Pair } from "./pair.ts";

Deno.test("a packet without a session is staged, and arrives when the handshake has completed", () => {
  const pair = new Pair();
  assert.equal(pair.aToB(84, 7), SendResult.Staged);
  pair.settle();
  assert.deepEqual(pair.b.received.map((r) => r.bytes), [
    ipv4Packet("10.0.0.1", "10.0.0.2", 84, 7),
  ]);
  assert.equal(pair.bToA(), SendResult.Sent);
  pair.settle();
  assert.equal(pair.a.received.length, 1);
});
