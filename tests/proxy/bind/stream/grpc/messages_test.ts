import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { BinaryReader, BinaryWriter } from "npm:@bufbuild/protobuf@2.17.0/wire";
import {
  messagePrefixSize,
  MessageReader,
  writeMessagePrefix,
} from "../../../../../proxy/bind/stream/grpc/messages.ts";
import { Datagrams } from "../../../../../proto/relay.ts";
import { concat } from "../../../../netstack/packets.ts";

/** A message of gRPC around one of protobuf's. */
function wrapped(content: Uint8Array): Uint8Array {
  const message = new Uint8Array(5 + content.length);
  new DataView(message.buffer).setUint32(1, content.length);
  message.set(content, 5);
  return message;
}

/** What is found in `bytes`, which come in pieces that end at `cuts`. */
function found(bytes: Uint8Array, cuts: readonly number[] = []) {
  const reader = new MessageReader();
  const packed: Uint8Array[] = [];
  let from = 0;
  for (const to of [...new Set([...cuts, bytes.length])].sort((a, b) => a - b)) {
    // As it lies in what a connection has read: behind something that is not wanted.
    const piece = concat(Uint8Array.of(1, 2, 3), bytes.subarray(from, to));
    const end = reader.take(piece, 3, piece.length, 1);
    packed.push(piece.subarray(1, end));
    from = to;
  }
  return { packed: concat(...packed), problem: reader.problem };
}

const sizes = fc.oneof(
  fc.integer({ min: 1, max: 40_000 }),
  fc.constantFrom(127, 128, 16_383, 16_384, 65_537),
);

Deno.test("what is before packed bytes is what the compiled schema makes of them", () => {
  fc.assert(fc.property(sizes, (size) => {
    const packed = new Uint8Array(size).map((_, i) => i);
    const expected = wrapped(Datagrams.encode({ packed }).finish());
    const prefix = new Uint8Array(messagePrefixSize(size));
    writeMessagePrefix(prefix, 0, size);
    assert.deepEqual(prefix, expected.subarray(0, expected.length - size));
  }));
});

/** Fields that an earlier or later release might add, in front of the bytes or behind them. */
const others = fc.array(
  fc.oneof(
    fc.record({ wire: fc.constant(0), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
    fc.record({ wire: fc.constant(1), value: fc.constant(7n) }),
    fc.record({ wire: fc.constant(2), value: fc.bigInt({ min: 0n, max: 300n }) }),
    fc.record({ wire: fc.constant(5), value: fc.constant(7n) }),
  ),
  { maxLength: 3 },
);

function write(writer: BinaryWriter, field: number, wire: number, value: bigint): void {
  writer.tag(field, wire);
  if (wire === 0) writer.uint64(value);
  else if (wire === 1) writer.fixed64(value);
  else if (wire === 5) writer.fixed32(Number(value));
  else writer.bytes(new Uint8Array(Number(value)).fill(1));
}

Deno.test("packed bytes are found in messages that come in pieces, whatever else is in them", () => {
  const messages = fc.array(
    fc.record({
      size: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constantFrom(16_384)),
      before: others,
      behind: others,
    }),
    { maxLength: 4 },
  );
  const cuts = fc.array(fc.integer({ min: 1, max: 2_000 }), { maxLength: 8 });
  fc.assert(fc.property(messages, cuts, (messages, cuts) => {
    const all: Uint8Array[] = [];
    const expected: Uint8Array[] = [];
    for (const { size, before, behind } of messages) {
      const packed = new Uint8Array(size).map((_, i) => i + 3);
      const writer = new BinaryWriter();
      before.forEach(({ wire, value }, i) => write(writer, 2 + i, wire, value));
      writer.uint32(10).bytes(packed);
      behind.forEach(({ wire, value }, i) => write(writer, 1_000 + i, wire, value));
      const content = writer.finish();
      assert.deepEqual(Datagrams.decode(new BinaryReader(content)).packed, packed);
      all.push(wrapped(content));
      expected.push(packed);
    }
    const bytes = concat(...all);
    const each = found(bytes, cuts.filter((cut) => cut < bytes.length));
    assert.equal(each.problem, undefined);
    assert.deepEqual(each.packed, concat(...expected));
  }));
});

Deno.test("what is no message of Datagrams is said, wherever it is cut", () => {
  const cases: [string, readonly number[]][] = [
    ["a message that is compressed", [1, 0, 0, 0, 0]],
    ["a message longer than allowed", [0, 0, 1, 0, 0x41]],
    ["it ends too early", [0, 0, 0, 0, 3, 0x0a, 0x7f, 1]],
    ["it ends too early", [0, 0, 0, 0, 1, 0x0a]],
    ["it ends too early", [0, 0, 0, 0, 2, 0x10, 0x80]],
    ["it ends too early", [0, 0, 0, 0, 2, 0x11, 1]],
    ["a field has the number 0", [0, 0, 0, 0, 2, 0x02, 0]],
    ["a field is of the wire type 3", [0, 0, 0, 0, 2, 0x0b, 0]],
    ["it has its field twice", [0, 0, 0, 0, 6, 0x0a, 1, 1, 0x0a, 1, 1]],
    ["a number is too large", [0, 0, 0, 0, 7, 0x0a, 0x80, 0x80, 0x80, 0x80, 1, 0]],
    ["a number is too large", [0, 0, 0, 0, 12, 0x10, ...Array(10).fill(0xff), 1]],
  ];
  for (const [expected, bytes] of cases) {
    for (let cut = 1; cut <= bytes.length; cut++) {
      const { problem } = found(Uint8Array.from(bytes), [cut]);
      assert.ok(problem?.endsWith(expected), `${bytes} at ${cut}: ${problem}`);
    }
  }
});
