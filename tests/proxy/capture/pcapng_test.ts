import assert from "node:assert/strict";
import fc from "fast-check";
import { BlockSplitter } from "../../../proxy/capture/blocks.ts";
import {
  commentOption,
  headerBlocks,
  packetBlockLength,
  packetIn,
  statisticsBlock,
  Timestamp,
  writePacketBlock,
} from "../../../proxy/capture/pcapng.ts";
import { BlockRing } from "../../../proxy/capture/ring.ts";

Deno.test("a time in nanoseconds is what BigInt makes of it", () => {
  const time = new Timestamp();
  const at = (ms: number) => {
    time.set(ms);
    return BigInt(time.high) << 32n | BigInt(time.low);
  };
  fc.assert(fc.property(fc.nat({ max: 2 ** 31 - 1 }), fc.nat({ max: 999_999 }), (s, us) => {
    const ms = s * 1000 + us / 1000;
    const exact = BigInt(s) * 1_000_000_000n + BigInt(us) * 1_000n;
    const difference = at(ms) - exact;
    // A double of today's milliseconds is exact to a fraction of a microsecond.
    assert.ok(difference > -500n && difference < 500n, `${difference}`);
  }));
  assert.equal(at(0), 0n);
  assert.equal(at(4_294_967_295_000), 4_294_967_295_000_000_000n);
  // The low half runs over into the high one.
  for (let i = 0; i < 5_000; i++) {
    assert.equal(at(1_767_225_600_000 + i), 1_767_225_600_000_000_000n + BigInt(i) * 1_000_000n);
  }
});

Deno.test("a packet block is read as it was written, whatever its length, comment and losses", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 70 }),
      fc.option(fc.string({ maxLength: 20 }), { nil: undefined }),
      fc.nat({ max: 2 ** 40 }),
      fc.boolean(),
      fc.nat({ max: 3 }),
      fc.nat({ max: 5 }),
      (data, text, drops, isInbound, interfaceId, room) => {
        const comment = text === undefined ? undefined : commentOption(text);
        const commentBytes = comment === undefined ? 0 : comment.length + 4 * room;
        const length = packetBlockLength(data.length, commentBytes, drops > 0);
        assert.equal(length % 4, 0);
        const bytes = new Uint8Array(length + 16).fill(0xee);
        const time = new Timestamp();
        time.set(1234.5);
        writePacketBlock(
          new DataView(bytes.buffer),
          bytes,
          8,
          length,
          interfaceId,
          time,
          data.length,
          1_500,
          isInbound,
          drops,
          comment,
          commentBytes,
        );
        bytes.set(data, 8 + 28);
        assert.deepEqual(
          [...bytes.subarray(0, 8), ...bytes.subarray(8 + length)],
          Array(16).fill(0xee),
          "nothing is written beside it",
        );
        assert.deepEqual(packetIn(bytes.slice(8, 8 + length)), {
          interfaceId,
          time: 1234.5,
          data: Uint8Array.from(data),
          original: 1_500,
          isInbound,
          drops,
          comment: new TextDecoder().decode(new TextEncoder().encode(text ?? "")),
        });
      },
    ),
  );
});

Deno.test("a stream is cut into the same blocks wherever it was cut before", () => {
  const file = [
    headerBlocks("test", [{ name: "a", description: "b", snapLength: 0, filter: "tcp" }]),
    statisticsBlock(0, { seen: 3, accepted: 2, dropped: 1 }, 0, 1),
    statisticsBlock(0, { seen: 4, accepted: 2, dropped: 1 }, 0, 2),
  ].flatMap((block) => [...block]);
  const bytes = Uint8Array.from(file);
  const blocksOf = (cuts: readonly number[]) => {
    const splitter = new BlockSplitter();
    const found: number[][] = [];
    let from = 0;
    for (const cut of [...cuts, bytes.length]) {
      splitter.push(bytes.slice(from, cut), (piece, blocks) => {
        for (const { type, start, end } of blocks) {
          found.push([type, ...piece.subarray(start, end)]);
        }
      });
      from = cut;
    }
    return found;
  };
  const whole = blocksOf([]);
  assert.equal(whole.length, 4);
  fc.assert(fc.property(fc.array(fc.nat({ max: bytes.length })), (cuts) => {
    assert.deepEqual(blocksOf(cuts.sort((a, b) => a - b)), whole);
  }));
  assert.throws(() => new BlockSplitter().push(new Uint8Array(64), () => {}), /expected pcapng/);
});

Deno.test("a ring gives back what was put in, in order and in whole blocks, and refuses what has no room", () => {
  const block = fc.integer({ min: 3, max: 25 }).map((words) => words * 4);
  const step = fc.oneof(
    fc.record({ put: block }),
    fc.record({ take: fc.nat({ max: 200 }), putBetween: fc.array(block, { maxLength: 3 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const ring = new BlockRing(256);
      const expected: number[] = []; // of each block the number and the length
      let next = 1;
      const put = (length: number) => {
        const at = ring.reserve(length);
        if (at < 0) {
          assert.ok(ring.waiting + length > 100, "with so little in it there is always room");
          return;
        }
        ring.bytes.fill(next & 0xff, at, at + length);
        ring.view.setUint32(at + 4, length, true);
        ring.commit(length);
        expected.push(next++ & 0xff, length);
      };
      for (const step of steps) {
        if ("put" in step) {
          put(step.put);
          continue;
        }
        const piece = ring.peek(step.take);
        step.putBetween.forEach(put); // what is lent stays as it is
        const view = new DataView(piece.buffer, piece.byteOffset, piece.length);
        for (let at = 0; at < piece.length;) {
          const [number, length] = expected.splice(0, 2);
          assert.equal(view.getUint32(at + 4, true), length);
          assert.equal(piece[at], number);
          assert.equal(piece[at + length! - 1], number);
          at += length!;
        }
        ring.consume(piece.length);
      }
      const left = expected.filter((_, i) => i % 2 === 1).reduce((sum, length) => sum + length, 0);
      assert.equal(ring.waiting, left);
      assert.equal(ring.isEmpty, left === 0);
    }),
    { numRuns: 300 },
  );
});
