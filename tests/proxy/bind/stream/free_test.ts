import assert from "node:assert/strict";
import { free, freeMessage } from "../../../../proxy/bind/stream/free.ts";

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

Deno.test("so is the memory of a message, but for what lies before it, and none that is dealt out in pieces", () => {
  const message = new Uint8Array(65_536);
  freeMessage(message.subarray(9));
  assert.ok(message.buffer.detached);
  const pool = new Uint8Array(65_536).fill(7);
  for (const [from, to] of [[9, 65_535], [17, 65_536], [4_096, 65_536]]) {
    freeMessage(pool.subarray(from, to));
  }
  const small = new Uint8Array(8_192);
  freeMessage(small.subarray(9));
  assert.deepEqual([pool.length, small.length], [65_536, 8_192]);
});
