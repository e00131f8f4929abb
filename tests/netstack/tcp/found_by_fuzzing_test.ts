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
