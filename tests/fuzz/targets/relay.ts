import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { FRAME_HEADER_SIZE, FrameType } from "../../../proxy/bind/stream/grpc/frames.ts";
import { CALL_STREAM } from "../../../proxy/bind/stream/grpc/limits.ts";
import { messagePrefixSize, writeMessagePrefix } from "../../../proxy/bind/stream/grpc/messages.ts";
import { CallReceiver } from "../../../proxy/bind/stream/grpc/receiver.ts";
import { CallSender } from "../../../proxy/bind/stream/grpc/sender.ts";
import { FrameReader, MAX_DATAGRAM } from "../../../proxy/bind/stream/frame_reader.ts";
import { frame } from "../../proxy/bind/stream/grpc/frame.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 60;
const { data, headers, settings, windowUpdate } = FrameType;
const TYPES = [data, data, data, headers, 3, settings, 6, windowUpdate];

export const relay: Target = {
  name: "relay",
  about:
    "frames of HTTP/2 with gRPC messages of datagrams, mutated: a problem, or no more datagrams " +
    "than have come",
  run(seed) {
    const random = new Random(seed);
    const out = new Uint8Array(MAX_DATAGRAM);
    for (let i = 0; i < INPUTS; i++) {
      const reader = new FrameReader();
      let problem: string | undefined;
      let [come, taken, passed] = [0, 0, 0];
      const socket = { write() {} } as unknown as Socket;
      const sender = new CallSender(socket);
      sender.open();
      const receiver = new CallReceiver(
        {
          pass: (bytes) => passed += bytes.length,
          write() {},
          failed: (why) => {
            assert.equal(problem, undefined, "once");
            problem = why;
          },
          setReading() {},
        },
        sender,
        0,
      );
      receiver.start((packed) => {
        reader.push(packed, true);
        if (reader.problem !== undefined) reader.reset();
      });
      for (const bytes of pieces(random, input(random))) {
        come += bytes.length;
        receiver.received(bytes);
        for (let length; (length = reader.next(out, 0)) > 0;) taken += length;
        assert.ok(taken + passed <= come + FRAME_HEADER_SIZE, `${taken} ${passed} ${come}`);
        assert.ok(reader.size <= MAX_DATAGRAM + 2, `${reader.size}`);
      }
    }
    return INPUTS;
  },
};

/** A call's headers and then frames of many kinds, most of them right. */
function input(random: Random): Uint8Array {
  const parts: Uint8Array[] = [frame(headers, 4, CALL_STREAM, random.bytes(5))];
  for (let count = random.below(8); count > 0; count--) {
    const type = TYPES[random.below(TYPES.length)]!;
    const flags = random.chance(0.2) ? random.below(256) : 0;
    const stream = random.chance(0.8) ? CALL_STREAM : random.below(4);
    const payload = type === data ? message(datagrams(random)) : random.bytes(random.below(14));
    parts.push(frame(type, flags, stream, payload));
  }
  const all = parts.flatMap((part) => [...part]);
  for (let n = random.below(4); n > 0; n--) all[random.below(all.length)] = random.below(256);
  return Uint8Array.from(all);
}

function* pieces(random: Random, bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const to = Math.min(bytes.length, at + 1 + random.below(random.chance(0.3) ? 10 : 2_000));
    yield bytes.slice(at, to);
    at = to;
  }
}

function message(packed: Uint8Array): Uint8Array {
  const prefix = messagePrefixSize(packed.length);
  const bytes = new Uint8Array(prefix + packed.length);
  writeMessagePrefix(bytes, 0, packed.length);
  bytes.set(packed, prefix);
  return bytes;
}

function datagrams(random: Random): Uint8Array {
  const parts: number[] = [];
  for (let count = random.below(8); count > 0; count--) {
    const length = random.chance(0.2) ? 0 : 32 + random.below(300);
    parts.push(length >>> 8, length & 0xff, ...random.bytes(length));
  }
  return Uint8Array.from(parts);
}
