import assert from "node:assert/strict";
import {
  FrameReader,
  MAX_DATAGRAM,
  MIN_DATAGRAM,
} from "../../../proxy/bind/stream/frame_reader.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 60;

export const streams: Target = {
  name: "streams",
  about: "streams of datagrams, mutated and in pieces: what came, in order, and no more is kept",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) feed(stream(random), random);
    return INPUTS;
  },
};

function stream(random: Random): Uint8Array {
  const parts: number[] = [];
  for (let count = random.below(30); count > 0; count--) {
    const length = random.chance(0.2)
      ? 0
      : random.chance(0.02)
      ? random.below(40)
      : MIN_DATAGRAM + random.below(200);
    parts.push(length >>> 8, length & 0xff, ...random.bytes(length));
  }
  const bytes = Uint8Array.from(parts);
  for (let n = random.below(3); n > 0 && bytes.length > 0; n--) {
    bytes[random.below(bytes.length)] = random.below(256);
  }
  return bytes;
}

/** A plain twin: the datagrams of all that has come, and how it ends. */
function plain(bytes: Uint8Array) {
  const datagrams: Uint8Array[] = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    const length = bytes[at]! << 8 | bytes[at + 1]!;
    if (length > 1 && length < MIN_DATAGRAM) return { datagrams, isBad: true };
    if (at + 2 + length > bytes.length) break;
    if (length === 1) return { datagrams, farewell: bytes[at + 2] };
    if (length > 0) datagrams.push(bytes.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return { datagrams };
}

function feed(bytes: Uint8Array, random: Random): void {
  const reader = new FrameReader();
  const out = new Uint8Array(MAX_DATAGRAM);
  const taken: Uint8Array[] = [];
  const take = () => {
    for (let length; (length = reader.next(out, 0)) > 0;) taken.push(out.slice(0, length));
  };
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random.below(300));
    reader.push(bytes.slice(at, end));
    at = end;
    if (random.chance(0.5)) take();
    assert.ok(reader.size <= at + MAX_DATAGRAM + 2);
    if (reader.problem !== undefined || reader.farewell !== undefined) break;
  }
  take();
  const expected = plain(bytes);
  assert.deepEqual(taken, expected.datagrams);
  assert.equal(reader.problem !== undefined, expected.isBad === true);
  assert.equal(reader.farewell, expected.farewell);
}
