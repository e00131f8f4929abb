import assert from "node:assert/strict";
import { FrameReader, type StreamFraming } from "../../../proxy/link/framing.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 40;
const CAPACITY = 65_600;

export const framing: Target = {
  name: "framing",
  about: "packet streams of links, mutated and in pieces: frames within what came, never too much",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) {
      const kind: StreamFraming = random.chance(0.5) ? "length16" : "length32";
      feed(new FrameReader(kind, CAPACITY), stream(random, kind), random);
    }
    return INPUTS;
  },
};

function stream(random: Random, kind: StreamFraming): Uint8Array {
  const parts: number[] = [];
  for (let count = random.below(20); count > 0; count--) {
    const length = random.chance(0.1) ? random.below(70_000) : random.below(100);
    if (kind === "length32") parts.push(0, length >>> 16);
    parts.push(length >>> 8 & 0xff, length & 0xff, ...random.bytes(Math.min(length, 300)));
  }
  const bytes = Uint8Array.from(parts);
  for (let n = random.below(4); n > 0 && bytes.length > 0; n--) {
    bytes[random.below(bytes.length)] = random.below(256);
  }
  return bytes;
}

function feed(reader: FrameReader, bytes: Uint8Array, random: Random): void {
  let [at, taken] = [0, 0];
  while (at < bytes.length) {
    const room = reader.room();
    assert.ok(room.length > 0, "room for more while nothing is found");
    const count = Math.min(room.length, bytes.length - at, 1 + random.below(200));
    room.set(bytes.subarray(at, at + count));
    reader.filled(count);
    at += count;
    while (reader.next()) {
      taken += reader.length;
      const end = reader.offset + reader.length;
      assert.ok(reader.offset >= 2 && end <= CAPACITY);
      assert.deepEqual(
        reader.buffer.subarray(reader.offset, end),
        bytes.subarray(at - reader.pending - reader.length, at - reader.pending),
      );
    }
    assert.ok(taken + reader.pending <= at);
    if (reader.problem !== undefined) return;
  }
}
