import assert from "node:assert/strict";
import { CARRY } from "../../../proxy/bind/stream/grpc/library.ts";
import { FrameReader, MAX_DATAGRAM } from "../../../proxy/bind/stream/frame_reader.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";

const INPUTS = 60;

export const relay: Target = {
  name: "relay",
  about:
    "gRPC messages of datagrams, mutated: an Error, or datagrams that lie within what has come",
  run(seed) {
    const random = new Random(seed);
    const reader = new FrameReader();
    const out = new Uint8Array(MAX_DATAGRAM);
    let [come, taken] = [0, 0];
    for (let i = 0; i < INPUTS; i++) {
      const packed = datagrams(random);
      const message = CARRY.requestSerialize(packed);
      if (packed.length > 0) assert.deepEqual(CARRY.requestDeserialize(message), packed);
      for (let n = random.below(4); n > 0 && message.length > 0; n--) {
        message[random.below(message.length)] = random.below(256);
      }
      let bytes: Uint8Array;
      try {
        bytes = CARRY.requestDeserialize(message.subarray(random.below(3) && random.below(9)));
      } catch (error) {
        assert.ok(error instanceof Error);
        continue; // the carrier is closed
      }
      assert.ok(bytes.length === 0 || bytes.buffer === message.buffer, "a view, not a copy");
      come += bytes.length;
      reader.push(bytes);
      for (let length; (length = reader.next(out, 0)) > 0;) taken += length;
      assert.ok(
        taken <= come && reader.size <= MAX_DATAGRAM + 2,
        `${taken} ${come} ${reader.size}`,
      );
      if (reader.problem !== undefined) reader.reset();
    }
    return INPUTS;
  },
};

function datagrams(random: Random): Uint8Array {
  const parts: number[] = [];
  for (let count = random.below(8); count > 0; count--) {
    const length = random.chance(0.2) ? 0 : 32 + random.below(300);
    parts.push(length >>> 8, length & 0xff, ...random.bytes(length));
  }
  return Uint8Array.from(parts);
}
