import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "npm:fast-check@4.10.2";
import { FrameReader, MAX_DATAGRAM } from "../../../../proxy/bind/stream/frame_reader.ts";

/** A stream of these datagrams, a twin of what the queue writes. */
function streamOf(datagrams: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(
    datagrams.flatMap((datagram) => [datagram.length >>> 8, datagram.length & 255, ...datagram]),
  );
}

function takeAll(reader: FrameReader, into: Uint8Array[]): void {
  const out = new Uint8Array(MAX_DATAGRAM + 3);
  for (let length; (length = reader.next(out, 3)) > 0;) into.push(out.slice(3, 3 + length));
}

const datagram = fc.oneof(
  { weight: 3, arbitrary: fc.uint8Array({ minLength: 32, maxLength: 200 }) },
  { weight: 1, arbitrary: fc.constant(new Uint8Array(0)) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1000, maxLength: 1500 }) },
);

Deno.test("a stream cut into any pieces gives the same datagrams, whenever they are taken", () => {
  fc.assert(fc.property(
    fc.array(datagram, { maxLength: 20 }),
    fc.array(fc.nat(400), { minLength: 1, maxLength: 40 }),
    fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
    (datagrams, cuts, takes) => {
      const stream = streamOf(datagrams);
      const reader = new FrameReader();
      const got: Uint8Array[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const end = Math.min(stream.length, at + 1 + cuts[i % cuts.length]!);
        reader.push(stream.slice(at, end));
        at = end;
        if (takes[i % takes.length]) takeAll(reader, got);
      }
      takeAll(reader, got);
      assert.deepEqual(got, datagrams.filter(({ length }) => length > 0));
      assert.equal(reader.heartbeats, datagrams.filter(({ length }) => length === 0).length);
      assert.equal(reader.size, 0);
      assert.equal(reader.hasNext, false);
      assert.equal(reader.problem, undefined);
    },
  ));
});

Deno.test("a length that no datagram has ends the stream, wherever it is cut", () => {
  const good = new Uint8Array(40).fill(7);
  const stream = Uint8Array.of(...streamOf([good]), 0, 31, ...new Uint8Array(100));
  for (let cut = 0; cut <= stream.length; cut++) {
    const reader = new FrameReader();
    reader.push(stream.slice(0, cut));
    reader.push(stream.slice(cut));
    assert.equal(reader.problem, "a frame of 31 bytes, and a datagram has 32 at least");
    const got: Uint8Array[] = [];
    takeAll(reader, got);
    assert.deepEqual(got, [good]);
  }
});

Deno.test("the beginning of a frame costs its own room, not that of the chunk it came in", () => {
  const reader = new FrameReader();
  const large = new Uint8Array(64 << 10);
  large.set(streamOf([new Uint8Array(1400)]));
  reader.push(large.subarray(0, 2 + 1399));
  assert.equal(reader.size, 2 + 1400);
  assert.equal(reader.hasNext, false);
  reader.push(large.subarray(1401, 1402));
  assert.equal(reader.hasNext, true);
});

Deno.test("a farewell is the last that counts, wherever it is cut", () => {
  const good = new Uint8Array(40).fill(7);
  const stream = Uint8Array.of(...streamOf([good]), 0, 1, 16, 0, 2, ...new Uint8Array(100));
  for (let cut = 0; cut <= stream.length; cut++) {
    const reader = new FrameReader();
    reader.push(stream.slice(0, cut));
    reader.push(stream.slice(cut));
    assert.equal(reader.farewell, 16);
    assert.equal(reader.problem, undefined);
    const got: Uint8Array[] = [];
    takeAll(reader, got);
    assert.deepEqual(got, [good]);
  }
});

Deno.test("the longest datagram that the length can say is taken", () => {
  const datagram = crypto.getRandomValues(new Uint8Array(MAX_DATAGRAM));
  const stream = new Uint8Array(2 + MAX_DATAGRAM);
  stream.set([255, 255]);
  stream.set(datagram, 2);
  const reader = new FrameReader();
  for (let at = 0; at < stream.length; at += 1000) reader.push(stream.slice(at, at + 1000));
  const got: Uint8Array[] = [];
  takeAll(reader, got);
  assert.deepEqual(got, [datagram]);
});

Deno.test("what was taken is let go, though there always is more", async () => {
  const reader = new FrameReader();
  const out = new Uint8Array(MAX_DATAGRAM);
  const chunk = streamOf(Array.from({ length: 40 }, () => new Uint8Array(1500)));
  const chunks: WeakRef<Uint8Array>[] = [];
  const push = () => {
    const bytes = chunk.slice();
    chunks.push(new WeakRef(bytes));
    reader.push(bytes);
  };
  push();
  push();
  for (let i = 0; i < 500; i++) {
    push();
    for (let taken = 0; taken < 40; taken++) assert.equal(reader.next(out, 0), 1500);
    assert.equal(reader.size, 2 * chunk.length);
  }
  await new Promise((resolve) => setTimeout(resolve)); // a turn keeps what its WeakRefs have seen
  collect();
  const left = chunks.filter((one) => one.deref() !== undefined).length;
  assert.ok(left < 10, `${left} of ${chunks.length} chunks are held, and 2 are not taken yet`);
});

/** Has everything collected that nobody holds. */
function collect(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}
