import assert from "node:assert/strict";
import { free } from "../../../../proxy/bind/stream/free.ts";

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
