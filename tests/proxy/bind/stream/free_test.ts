import assert from "node:assert/strict";
import { free, freeOwn } from "../../../../proxy/bind/stream/free.ts";

Deno.test("memory of one's own is gone at once, whatever looks at it", () => {
  const bytes = new Uint8Array(65_536);
  const buffer = bytes.buffer;
  free(bytes);
  assert.equal(buffer.byteLength, 0);
  assert.ok(buffer.detached);
  assert.equal(bytes.length, 0);
  free(bytes); // again
});

Deno.test("memory that others have too stays", () => {
  const pool = new Uint8Array(8_192).fill(7);
  free(pool.subarray(0, 8_191));
  free(pool.subarray(1));
  assert.deepEqual(pool, new Uint8Array(8_192).fill(7));
  const shared = new Uint8Array(new SharedArrayBuffer(16));
  free(shared);
  assert.equal(shared.length, 16);
});

Deno.test("so is memory of which something is used, if nobody else has any of it", () => {
  const memory = new Uint8Array(65_536);
  freeOwn(memory.subarray(0, 60_000));
  assert.ok(memory.buffer.detached);
  const shared = new Uint8Array(new SharedArrayBuffer(16));
  freeOwn(shared);
  assert.equal(shared.length, 16);
});
