import assert from "node:assert/strict";
import {
  HEADER_LENGTH,
  Segment,
  writeHeader,
  writeSack,
  writeSynOptions,
  writeTimestamps,
} from "../../../netstack/tcp/header.ts";
import { Random } from "../../sim/random.ts";
import { tcpOptions } from "../generate.ts";
import { mutateBytes, resize } from "../mutate.ts";
import type { Target } from "../target.ts";
import { concat, get16, get32 } from "../wire.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 500;

export const tcp: Target = {
  name: "tcp",
  about: "TCP header and options, against a plain parser; what the writers write is read back",
  run(seed) {
    const random = new Random(seed);
    for (let i = 0; i < INPUTS; i++) {
      if (random.chance(0.8)) trySegment(random, segmentBytes(random));
      else tryWriters(random);
    }
    return INPUTS;
  },
};

/** One for all inputs, as in the stack: nothing of one may show in the next. */
const segment = new Segment();

function segmentBytes(random: Random): Uint8Array {
  let options = tcpOptions(random, random.below(11) * 4, random.uint32());
  if (random.chance(0.3)) {
    // How everybody writes timestamps, which has a path of its own.
    options = concat(Uint8Array.of(1, 1, 8, 10), random.bytes(8), options).subarray(0, 40);
  }
  let bytes = concat(random.bytes(20), options, random.bytes(random.below(30)));
  bytes[12] = (20 + options.length) << 2 | random.below(16);
  if (random.chance(0.1)) bytes = resize(random, bytes);
  if (random.chance(0.1)) bytes = mutateBytes(random, bytes);
  return bytes;
}

function trySegment(random: Random, bytes: Uint8Array): void {
  const packet = new Surrounded(random, bytes);
  const { buffer, offset, length } = packet;
  const isWhole = segment.parse(buffer, offset, length);
  packet.check();
  const expected = plainParse(bytes);
  assert.equal(isWhole, expected !== undefined);
  if (expected === undefined) return;
  assert.equal(segment.payload - offset, expected.payload);
  assert.equal(segment.length, bytes.length - expected.payload);
  const { flags } = segment;
  assert.equal(segment.span, segment.length + (flags >> 1 & 1) + (flags & 1));
  assert.deepEqual(readOut(flags), expected.fields);
}

/** What the segment says, without leftovers that its flags make meaningless. */
function readOut(flags: number): Fields {
  const syn = (flags & 2) !== 0;
  return {
    sequence: segment.sequence >>> 0,
    acknowledgment: segment.acknowledgment >>> 0,
    flags,
    window: segment.window,
    timestamps: segment.hasTimestamps ? [segment.tsValue >>> 0, segment.tsEcho >>> 0] : undefined,
    sack: Array.from(segment.sack.subarray(0, 2 * segment.sackCount), (edge) => edge >>> 0),
    mss: syn ? segment.mss : 0,
    windowScale: syn ? segment.windowScale : -1,
    sackPermitted: syn && segment.sackPermitted,
  };
}

interface Fields {
  sequence: number;
  acknowledgment: number;
  flags: number;
  window: number;
  timestamps: [number, number] | undefined;
  sack: number[];
  mss: number;
  windowScale: number;
  sackPermitted: boolean;
}

function plainParse(bytes: Uint8Array): { payload: number; fields: Fields } | undefined {
  if (bytes.length < 20) return undefined;
  const payload = (bytes[12]! >> 4) * 4;
  if (payload < 20 || payload > bytes.length) return undefined;
  const fields: Fields = {
    sequence: get32(bytes, 4),
    acknowledgment: get32(bytes, 8),
    flags: bytes[13]!,
    window: get16(bytes, 14),
    timestamps: undefined,
    sack: [],
    mss: 0,
    windowScale: -1,
    sackPermitted: false,
  };
  const syn = (fields.flags & 2) !== 0;
  let left = bytes.subarray(20, payload);
  while (left.length > 0 && left[0] !== 0) {
    const kind = left[0]!;
    if (kind === 1) {
      left = left.subarray(1);
      continue;
    }
    const size = left[1] ?? 0;
    if (size < 2 || size > left.length) break;
    const body = left.subarray(2, size);
    left = left.subarray(size);
    if (kind === 8 && size === 10) fields.timestamps = [get32(body, 0), get32(body, 4)];
    if (kind === 5 && body.length >= 8 && body.length % 8 === 0) {
      fields.sack = [];
      for (let i = 0; i < Math.min(32, body.length); i += 4) fields.sack.push(get32(body, i));
    }
    if (kind === 2 && size === 4 && syn) fields.mss = get16(body, 0);
    if (kind === 3 && size === 3 && syn) fields.windowScale = Math.min(14, body[0]!);
    if (kind === 4 && size === 2 && syn) fields.sackPermitted = true;
  }
  return { payload, fields };
}

/** RFC 9293 §3.1: what is written is what is read. */
function tryWriters(random: Random): void {
  const into = new Surrounded(random, new Uint8Array(60));
  const { buffer, offset } = into;
  const syn = random.chance(0.5);
  const withTimestamps = random.chance(0.5);
  const [sequence, acknowledgment, value, echo] = Array.from({ length: 4 }, () => random.uint32());
  const windowScale = random.chance(0.5) ? random.below(15) : -1;
  const sackPermitted = random.chance(0.5);
  const mss = random.between(1, 0xffff);
  const blocks = syn ? 0 : random.below(withTimestamps ? 4 : 5);
  const edges = Int32Array.from({ length: 8 }, () => random.uint32() | 0);
  let end = offset + HEADER_LENGTH;
  if (syn) end = writeSynOptions(buffer, end, mss, windowScale, sackPermitted);
  if (withTimestamps) end = writeTimestamps(buffer, end, value! | 0, echo! | 0);
  if (blocks > 0) end = writeSack(buffer, end, edges, blocks);
  const flags = syn ? 0x12 : 0x18;
  const window = random.below(0x10000);
  writeHeader(
    buffer,
    offset,
    random.below(0x10000),
    random.below(0x10000),
    sequence! | 0,
    acknowledgment! | 0,
    end - offset,
    flags,
    window,
  );
  into.check(true);
  assert.equal((end - offset) % 4, 0);
  assert.ok(segment.parse(buffer, offset, end - offset));
  assert.deepEqual(readOut(flags), {
    sequence,
    acknowledgment,
    flags,
    window,
    timestamps: withTimestamps ? [value, echo] : undefined,
    sack: Array.from(edges.subarray(0, 2 * blocks), (edge) => edge >>> 0),
    mss: syn ? mss : 0,
    windowScale: syn ? windowScale : -1,
    sackPermitted: syn && sackPermitted,
  });
}
