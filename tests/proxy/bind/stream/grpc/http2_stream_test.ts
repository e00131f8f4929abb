import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { messageOf } from "../../../../../proxy/bind/stream/grpc/http2_stream.ts";
import { Datagrams } from "../../../../../proto/relay.ts";

Deno.test("a message is what the compiled schema makes of it, copied or in place", () => {
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: 70_000 }),
    fc.constantFrom(127, 128, 16_383, 16_384),
  );
  fc.assert(fc.property(sizes, fc.integer({ min: 0, max: 20 }), (size, room) => {
    const memory = new Uint8Array(20 + size).map((_, i) => i);
    const packed = memory.subarray(20);
    const expected = packed.slice();
    const message = messageOf(packed, room);
    assert.equal(message[0], 0);
    assert.equal(message.readUInt32BE(1), message.length - 5);
    const plain = Datagrams.encode({ packed: expected }).finish();
    assert.deepEqual(new Uint8Array(message.subarray(5)), plain);
    assert.deepEqual(packed, expected);
    assert.equal(message.buffer === memory.buffer, room >= 9);
  }));
});
