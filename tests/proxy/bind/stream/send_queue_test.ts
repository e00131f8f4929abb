import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { newStreamCounters } from "../../../../proxy/bind/stream/counters.ts";
import { FrameReader } from "../../../../proxy/bind/stream/frame_reader.ts";
import { ChunkPool, SendQueue } from "../../../../proxy/bind/stream/send_queue.ts";

const LIMITS = { bytes: 10_000, ageMs: 250 };

function numbered(number: number, length = 100): Uint8Array {
  const datagram = new Uint8Array(length);
  new DataView(datagram.buffer).setUint32(0, number);
  return datagram;
}

/** Takes all that is to be sent now. @returns the numbers. */
function takeAll(queue: SendQueue, now: number): number[] {
  const reader = new FrameReader();
  for (let chunk; (chunk = queue.shift(now)) !== undefined; chunk.done()) {
    reader.push(chunk.bytes.slice());
  }
  const out = new Uint8Array(65_536);
  const numbers: number[] = [];
  while (reader.next(out, 0) > 0) numbers.push(new DataView(out.buffer).getUint32(0));
  assert.equal(reader.problem, undefined);
  assert.equal(reader.size, 0);
  return numbers;
}

Deno.test("what has no room makes the oldest go, and is counted", () => {
  const counters = newStreamCounters();
  const queue = new SendQueue(new ChunkPool(), counters, LIMITS);
  for (let i = 0; i < 200; i++) queue.push(numbered(i), 0, 100, 0);
  assert.ok(queue.size <= LIMITS.bytes);
  assert.equal(counters.droppedFull, 200 - 98); // of 102 bytes each
  assert.deepEqual(takeAll(queue, 0), Array.from({ length: 98 }, (_, i) => i + 102));
});

Deno.test("what has waited for too long is dropped, and is counted; what came later is not", () => {
  const counters = newStreamCounters();
  const queue = new SendQueue(new ChunkPool(), counters, LIMITS);
  for (let i = 0; i < 50; i++) queue.push(numbered(i), 0, 100, i * 20);
  // At 1000 those of up to 749 are too old; the time is known to 16 ms.
  assert.deepEqual(takeAll(queue, 1_000), Array.from({ length: 12 }, (_, i) => i + 38));
  assert.equal(counters.droppedStale, 38);
});

Deno.test("the queue is as a plain list of datagrams with their times is, whatever is done", () => {
  const step = fc.record({
    pause: fc.nat(100),
    length: fc.oneof(fc.constant(0), fc.integer({ min: 32, max: 1_500 }), fc.constant(9_000)),
    takes: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const counters = newStreamCounters();
    const queue = new SendQueue(new ChunkPool(), counters, LIMITS);
    const twin: { number: number; length: number; at: number }[] = [];
    let now = 0;
    const size = () => twin.reduce((sum, { length }) => sum + 2 + length, 0);
    steps.forEach(({ pause, length, takes }, number) => {
      now += pause;
      while (twin.length > 0 && size() + 2 + length > LIMITS.bytes) twin.shift();
      twin.push({ number, length, at: now });
      queue.push(numbered(number, Math.max(4, length)), 0, length, now);
      assert.equal(queue.size, size());
      if (!takes) return;
      const got = takeAll(queue, now);
      const datagrams = twin.splice(0).filter((entry) => entry.length > 0);
      const young = datagrams.filter(({ at }) => now - at <= LIMITS.ageMs).map((e) => e.number);
      const perhaps = datagrams.filter(({ at }) => now - at <= LIMITS.ageMs + 16);
      // Times are known to 16 ms, and never taken for later than they were.
      assert.ok(got.length <= young.length && young.length <= perhaps.length);
      assert.deepEqual(got, young.slice(young.length - got.length));
      const dropped = young.slice(0, young.length - got.length);
      for (const lost of dropped) {
        assert.ok(now - datagrams.find((e) => e.number === lost)!.at > LIMITS.ageMs - 16);
      }
    });
  }));
});

Deno.test("a chunk that was sent is used again", () => {
  const pool = new ChunkPool();
  const queue = new SendQueue(pool, newStreamCounters(), LIMITS);
  queue.push(numbered(1), 0, 100, 0);
  const first = queue.shift(0)!;
  const { buffer } = first;
  first.done();
  queue.push(numbered(2), 0, 100, 0);
  const second = queue.shift(0)!;
  assert.equal(second.buffer, buffer);
  assert.equal(second.datagrams, 1);
  assert.equal(second.bytes.length, 102);
});
