import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import {
  FrameReader,
  headerLength,
  MAX_PACKET,
  type StreamFraming,
  writeHeader,
} from "../../../proxy/link/framing.ts";

const FRAMINGS: readonly StreamFraming[] = ["length16", "length32"];

/** The plain way to write it. */
function framed(framing: StreamFraming, packets: readonly Uint8Array[]): Uint8Array {
  const size = framing === "length16" ? 2 : 4;
  return Uint8Array.from(packets.flatMap((packet) => {
    const header = new DataView(new ArrayBuffer(size));
    if (size === 2) header.setUint16(0, packet.length);
    else header.setUint32(0, packet.length);
    return [...new Uint8Array(header.buffer), ...packet];
  }));
}

/** Everything that comes out when `stream` goes in, in pieces of these sizes. */
function read(framing: StreamFraming, stream: Uint8Array, sizes: readonly number[]) {
  const reader = new FrameReader(framing, 65_600);
  const found: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; at < stream.length && reader.problem === undefined; i++) {
    const room = reader.room();
    assert.ok(room.length > 0);
    const count = Math.min(room.length, stream.length - at, sizes[i % sizes.length]!);
    room.set(stream.subarray(at, at + count));
    reader.filled(count);
    at += count;
    for (;;) {
      const has = reader.hasNext;
      const isFound = reader.next();
      assert.equal(has, isFound || reader.problem !== undefined);
      if (!isFound) break;
      found.push(reader.buffer.slice(reader.offset, reader.offset + reader.length));
    }
  }
  return { found, reader };
}

Deno.test("packets of any size come out of a stream as they went in, whatever pieces it comes in", () => {
  fc.assert(fc.property(
    fc.constantFrom(...FRAMINGS),
    fc.array(
      fc.oneof({ weight: 5, arbitrary: fc.uint8Array({ maxLength: 40 }) }, {
        weight: 1,
        arbitrary: fc.integer({ min: 0, max: MAX_PACKET }).map((length) =>
          new Uint8Array(length).fill(7)
        ),
      }),
      { maxLength: 12 },
    ),
    fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 }),
    (framing, packets, sizes) => {
      const { found, reader } = read(framing, framed(framing, packets), sizes);
      assert.deepEqual(found, packets);
      assert.deepEqual([reader.pending, reader.problem], [0, undefined]);
    },
  ));
});

Deno.test("what writes a frame's header is read by the plain way", () => {
  for (const framing of FRAMINGS) {
    for (const length of [0, 1, 255, 256, 1500, MAX_PACKET]) {
      const buffer = new Uint8Array(8).fill(9);
      writeHeader(framing, buffer, 1, length);
      const view = new DataView(buffer.buffer);
      const isShort = framing === "length16";
      assert.equal(isShort ? view.getUint16(1) : view.getUint32(1), length);
      assert.deepEqual([buffer[0], buffer[1 + headerLength(framing)]], [9, 9]);
    }
  }
});

Deno.test("half a frame waits; length 0 is a frame; 65,535 bytes fit; more is the end", () => {
  for (const framing of FRAMINGS) {
    const size = headerLength(framing);
    const half = framed(framing, [new Uint8Array(100)]).subarray(0, size + 60);
    assert.deepEqual(read(framing, half, [7]).found, []);
    assert.equal(read(framing, half, [7]).reader.pending, size + 60);
    assert.deepEqual(read(framing, new Uint8Array(3 * size), [1]).found, [
      new Uint8Array(0),
      new Uint8Array(0),
      new Uint8Array(0),
    ]);
    const largest = new Uint8Array(MAX_PACKET).fill(3);
    assert.deepEqual(read(framing, framed(framing, [largest]), [65_000]).found, [largest]);
  }
  for (const header of [[0, 1, 0, 0], [255, 255, 255, 255]]) {
    const { found, reader } = read("length32", Uint8Array.from([...header, 1, 2, 3]), [2]);
    assert.deepEqual(found, []);
    assert.match(reader.problem!, /^a frame of \d+ bytes, and a packet has at most 65535$/);
    assert.ok(reader.hasNext && !reader.next(), "and stays so");
    reader.reset();
    assert.deepEqual([reader.problem, reader.hasNext, reader.pending], [undefined, false, 0]);
  }
  assert.throws(() => new FrameReader("length32", 65_538), /a frame may have 65539 bytes/);
});
