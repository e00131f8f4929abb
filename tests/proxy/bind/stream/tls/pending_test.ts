import assert from "node:assert/strict";
import { PendingConnections } from "../../../../../proxy/bind/stream/tls/pending.ts";

function add(to: PendingConnections, address: string, gone: string[], name = address): boolean {
  return to.add({ address, evict: () => void gone.push(name) });
}

Deno.test("where all wait, the address that has most gives way, and not the oldest of all", () => {
  const gone: string[] = [];
  const pending = new PendingConnections(4, 4, "newest");
  add(pending, "honest", gone);
  for (let i = 0; i < 3; i++) add(pending, "greedy", gone, `greedy ${i}`);
  add(pending, "other", gone);
  assert.deepEqual(gone, ["greedy 0"]);
  add(pending, "greedy", gone, "greedy 3");
  assert.deepEqual(gone, ["greedy 0", "greedy 1"]);
  assert.equal(pending.size, 4);
});

Deno.test("in a line the newest of the address that has most gives way to another, which is refused if it has as much", () => {
  const gone: string[] = [];
  const pending = new PendingConnections(4, 4, "oldest");
  for (let i = 0; i < 4; i++) add(pending, "greedy", gone, `greedy ${i}`);
  assert.equal(add(pending, "a", gone), true);
  assert.equal(add(pending, "b", gone), true);
  assert.deepEqual(gone, ["greedy 3", "greedy 2"]);
  assert.equal(add(pending, "a", gone, "second"), false);
  assert.equal(add(pending, "greedy", gone, "greedy 4"), false);
  assert.deepEqual(gone.slice(2), ["second", "greedy 4"]);
});
