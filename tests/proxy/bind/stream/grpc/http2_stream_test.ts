import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { GrpcCarrier } from "../../../../../proxy/bind/stream/grpc/carrier.ts";
import { http2StreamOf, messageOf } from "../../../../../proxy/bind/stream/grpc/http2_stream.ts";
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

Deno.test("a call whose parts have other names is written to as the library has it", () => {
  assert.equal(http2StreamOf({ call: { parts: {} } }), undefined);
  const written: Uint8Array[] = [];
  const call = {
    on() {},
    pause() {},
    resume() {},
    write: (bytes: Uint8Array, done: () => void) => (written.push(bytes), done()),
  };
  const remote = { address: Uint8Array.of(192, 0, 2, 1), port: 1, description: "", holder: "" };
  const carrier = new GrpcCarrier(call, remote, () => {});
  let done = 0;
  const bytes = Uint8Array.of(1, 2, 3);
  assert.ok(carrier.write(bytes, () => done++));
  assert.deepEqual(written, [bytes]);
  assert.equal(done, 1);
  assert.equal(carrier.buffered, 0);
});
