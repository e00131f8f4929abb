/** The parts of TCP against plain twins. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress } from "../../../netstack/address.ts";
import { MemoryBudget } from "../../../netstack/memory_budget.ts";
import { ACK, FIN, Segment } from "../../../netstack/tcp/header.ts";
import { type Flow, FlowHash, FlowTable } from "../../../netstack/tcp/demux.ts";
import { Receiver } from "../../../netstack/tcp/receiver.ts";
import { Ring } from "../../../netstack/tcp/ring.ts";
import { RingMemory, SMALLEST } from "../../../netstack/tcp/ring_memory.ts";
import { RtoEstimator } from "../../../netstack/tcp/rto.ts";
import { Scoreboard } from "../../../netstack/tcp/sack.ts";
import { after, before, distance, latest } from "../../../netstack/tcp/sequence.ts";
import { DEFAULT_SETTINGS, resolveSettings } from "../../../netstack/tcp/settings.ts";
import { SipHash } from "../../../netstack/tcp/siphash.ts";
import { IGNORE, TimeWaitTable } from "../../../netstack/tcp/time_wait.ts";
import { Worklist } from "../../../netstack/tcp/worklist.ts";
import { ip } from "../packets.ts";

Deno.test("SipHash-2-4 gives the values of its reference implementation", () => {
  // github.com/veorq/SipHash, vectors.h: inputs 00 01 02 … of these lengths, key 00 … 0f.
  const vectors: [length: number, hash: string][] = [
    [0, "310e0edd47db6f72"],
    [4, "b7877127e09427cf"],
    [8, "6224939a79f5f593"],
    [12, "fbe50e86bc8f1e75"],
    [60, "e1915f5cb1eca46c"],
  ];
  const hash = new SipHash(Uint8Array.from({ length: 16 }, (_, i) => i));
  for (const [length, expected] of vectors) {
    hash.begin();
    hash.addBytes(Uint8Array.from({ length: 64 }, (_, i) => i), 0, length);
    hash.finish();
    assert.equal(hex(hash.low) + hex(hash.high), expected, `${length} bytes`);
  }
});

Deno.test("SipHash agrees with a BigInt twin", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.array(fc.integer(), { maxLength: 12 }),
    (key, words) => {
      const hash = new SipHash(key);
      hash.begin();
      for (const word of words) hash.addWord(word);
      hash.finish();
      const got = BigInt(hash.high >>> 0) << 32n | BigInt(hash.low >>> 0);
      assert.equal(got, plainSipHash(key, words));
    },
  ));
});

Deno.test("the flow table agrees with a Map, however flows come and go", () => {
  const flowHash = new FlowHash((out) => out.fill(7));
  const address = (last: number) => IpAddress.v4(10, 0, 0, last);
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.boolean(), fc.nat(3), fc.nat(40)), { maxLength: 300 }),
    (steps) => {
      const table = new FlowTable<Flow>();
      const map = new Map<string, Flow>();
      for (const [insert, host, port] of steps) {
        const remote = address(host);
        const local = address(200);
        // Few distinct hashes: long runs, which is where removal can go wrong.
        const hash = flowHash.ofFlow(local, 80, remote, port) & 7;
        const key = `${host}:${port}`;
        const there = map.get(key);
        assert.equal(table.find(hash, local, 80, remote, port), there);
        if (insert && there === undefined) {
          const flow: Flow = { local, localPort: 80, remote, remotePort: port, hash };
          table.insert(flow);
          map.set(key, flow);
        } else if (!insert && there !== undefined) {
          assert.equal(table.remove(there), true);
          assert.equal(table.remove(there), false);
          map.delete(key);
        }
        assert.equal(table.size, map.size);
      }
      assert.deepEqual(new Set(table), new Set(map.values()));
    },
  ));
});

Deno.test("the table of TIME-WAIT agrees with a list, for both families and colliding hashes", () => {
  const MOST = 300; // past the first size of the table
  const DURATION = 1_000;
  const addresses = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"].map((text) => ip(text));
  let overflows = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(99), fc.nat(400), fc.nat(3)), { minLength: 800, maxLength: 2_000 }),
      (steps) => {
        const table = new TimeWaitTable(DURATION, MOST);
        let list: {
          key: string;
          expires: number;
          sendNext: number;
          hash: number;
          port: number;
          at: number;
        }[] = [];
        let now = 0.5;
        for (const [kind, port, at] of steps) {
          const local = addresses[at]!;
          const remote = addresses[at ^ 1]!;
          const key = `${local} ${port}`;
          const hash = port % 7 - 3 << 20;
          const there = list.find((record) => record.key === key);
          const found = table.find(hash, local, 80, remote, port);
          assert.equal(found?.sendNext, there?.sendNext);
          assert.equal(found?.expires, there?.expires);
          if (kind <= 80 && there === undefined) {
            if (list.length === MOST) {
              list.shift();
              overflows++;
            }
            const sendNext = now | 0;
            const state = { local, localPort: 80, remote, remotePort: port, hash, sendNext };
            table.add(
              { ...state, receiveNext: 5, timestamps: true, tsRecent: 6, tsOffset: 7 },
              now,
            );
            list.push({ key, expires: now + DURATION, sendNext, hash, port, at });
          } else if (kind <= 88 && found !== undefined) {
            table.remove(found);
            list = list.filter((record) => record !== there);
          } else if (kind <= 97 && found !== undefined) {
            const { localPort, remotePort, receiveNext, timestamps, tsRecent, tsOffset } = found;
            assert.deepEqual(
              [localPort, remotePort, receiveNext, timestamps, tsRecent, tsOffset],
              [80, port, 5, true, 6, 7],
            );
            // A FIN again: its time begins anew.
            const segment = new Segment();
            segment.flags = FIN | ACK;
            assert.notEqual(table.judge(found, segment, now), IGNORE);
            list = [...list.filter((record) => record !== there), {
              ...there!,
              expires: now + DURATION,
            }];
          } else if (kind === 99) {
            now += port < 20 ? 5_000 : port / 20;
            table.expire(now);
            list = list.filter((record) => record.expires > now);
          }
          assert.equal(table.size, list.length);
          assert.equal(table.next(), list[0]?.expires ?? Infinity);
        }
        for (const { hash, port, at, expires } of list) {
          const found = table.find(hash, addresses[at]!, 80, addresses[at ^ 1]!, port);
          assert.equal(found?.expires, expires);
        }
        table.expire(Infinity);
        assert.deepEqual([table.size, table.next()], [0, Infinity]);
      },
    ),
    { numRuns: 40 },
  );
  assert.ok(overflows > 0);
});

Deno.test("blocks of ring memory never overlap, and make one whole again when all are given back", () => {
  const LENGTH = 100_000; // 48 smallest blocks, and a rest that is too small
  const WHOLE = 65_536;
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.boolean(), fc.nat(5), fc.nat()), { maxLength: 200 }),
    (steps) => {
      const region = { memory: new Uint8Array(LENGTH + 7), offset: 7, length: LENGTH };
      const memory = new RingMemory(region);
      const taken: { offset: number; size: number }[] = [];
      for (const [isTaking, order, choice] of steps) {
        const size = SMALLEST << order;
        if (isTaking) {
          const offset = memory.take(size);
          if (offset < 0) continue;
          assert.ok(offset >= region.offset && offset + size <= region.offset + LENGTH);
          const overlaps = taken.some((other) =>
            offset < other.offset + other.size && other.offset < offset + size
          );
          assert.equal(overlaps, false);
          taken.push({ offset, size });
        } else if (taken.length > 0) {
          const [{ offset, size }] = taken.splice(choice % taken.length, 1) as [typeof taken[0]];
          memory.give(offset, size);
        }
        assert.equal(memory.used, taken.reduce((sum, { size }) => sum + size, 0));
      }
      for (const { offset, size } of taken) memory.give(offset, size);
      assert.equal(memory.take(WHOLE), region.offset);
      assert.equal(memory.take(WHOLE / 2), region.offset + WHOLE);
      assert.equal(memory.take(SMALLEST), -1);
    },
  ));
});

Deno.test("ring memory without a region, or with one that is used up, gives buffers and keeps some", () => {
  const memory = new RingMemory({ memory: new Uint8Array(SMALLEST), offset: 0, length: SMALLEST });
  assert.equal(memory.take(SMALLEST), 0);
  assert.equal(memory.take(SMALLEST), -1);
  assert.equal(new RingMemory().take(SMALLEST), -1);
  const buffer = memory.takeBuffer(8_192);
  assert.equal(buffer.length, 8_192);
  assert.equal(memory.used, SMALLEST + 8_192);
  memory.giveBuffer(buffer);
  assert.equal(memory.takeBuffer(16_384) === buffer, false);
  assert.equal(memory.takeBuffer(8_192), buffer);
});

Deno.test("the ring agrees with an array, in a region and beyond it", () => {
  const memory = new RingMemory({ memory: new Uint8Array(40_000), offset: 999, length: 39_000 });
  const account = new MemoryBudget().join("somebody");
  // Some rings stay while others run: what is in them must not change.
  const kept: { ring: Ring; bytes: number[] }[] = [];
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat(3), fc.nat(3_000)), { maxLength: 60 }),
    (steps) => {
      const ring = new Ring(memory, account);
      let bytes: number[] = [];
      let next = 0;
      for (const [kind, length] of steps) {
        if (kind === 0) {
          const chunk = Uint8Array.from({ length }, () => next++);
          assert.equal(ring.reserve(ring.length + length, false), ring.length + length);
          ring.write(chunk, 0, length);
          bytes.push(...chunk);
        } else if (kind === 1) {
          // Ahead of the end, as out-of-order data; then the gap is closed.
          const gap = length % 50;
          const chunk = Uint8Array.from({ length: length + gap }, () => next++);
          ring.reserve(ring.length + gap + length, true);
          ring.writeAt(ring.length + gap, chunk, gap, length);
          ring.writeAt(ring.length, chunk, 0, gap);
          ring.advance(length + gap);
          bytes.push(...chunk);
        } else if (kind === 2) {
          ring.shrink(ring.length);
          assert.ok(ring.capacity < Math.max(2 * SMALLEST, 2 * ring.length));
        } else {
          const taken = Math.min(length, ring.length);
          const into = new Uint8Array(taken);
          ring.peek(0, into, 0, taken);
          assert.deepEqual([...into], bytes.slice(0, taken));
          ring.discard(taken);
          bytes = bytes.slice(taken);
        }
        assert.equal(ring.length, bytes.length);
      }
      kept.push({ ring, bytes });
      assert.equal(account.used, kept.reduce((sum, { ring }) => sum + ring.capacity, 0));
      if (kept.length <= 3) return;
      const oldest = kept.shift()!;
      const into = new Uint8Array(oldest.bytes.length);
      oldest.ring.peek(0, into, 0, into.length);
      assert.deepEqual(into, Uint8Array.from(oldest.bytes));
      oldest.ring.clear();
    },
  ));
});

Deno.test("reassembly gives the stream, whatever the order, overlap and repetition", () => {
  const settings = resolveSettings({ receiveBuffer: 60_000, initialBuffer: 60_000 });
  const stream = Uint8Array.from({ length: 5_000 }, (_, i) => i * 13);
  fc.assert(fc.property(
    fc.integer(),
    fc.array(fc.tuple(fc.nat(4_999), fc.integer({ min: 1, max: 1_500 })), { maxLength: 80 }),
    (start, pieces) => {
      const receiver = new Receiver(settings, new RingMemory(), new MemoryBudget().join(0));
      receiver.start(start, 0);
      const have = new Uint8Array(stream.length);
      for (const [from, size] of pieces) {
        const length = Math.min(size, stream.length - from);
        receiver.accept((start + from) | 0, stream, from, length, from + length === stream.length);
        have.fill(1, from, from + length);
        const expected = have.indexOf(0);
        const inOrder = expected < 0 ? stream.length : expected;
        assert.equal(receiver.ring.length, inOrder);
        assert.equal(receiver.finished, expected < 0);
        checkRanges(receiver, have, inOrder, start);
      }
      const into = new Uint8Array(stream.length);
      const length = receiver.read(into, 0, into.length);
      assert.deepEqual(into.subarray(0, length), stream.subarray(0, length));
    },
  ));
});

Deno.test("the scoreboard counts as a list of segments does", () => {
  const MSS = 100;
  fc.assert(fc.property(
    fc.integer(),
    fc.array(fc.tuple(fc.nat(5), fc.nat(40), fc.nat(6)), { maxLength: 120 }),
    (start, steps) => {
      const board = new Scoreboard();
      board.reset(start);
      let una = start;
      let nxt = start;
      let now = 0;
      let list: { end: number; sacked: boolean; lost: boolean }[] = [];
      for (const [kind, at, count] of steps) {
        now += 10;
        board.begin(10);
        if (kind <= 1) {
          nxt = (nxt + MSS) | 0;
          board.push(nxt, false, now);
          list.push({ end: nxt, sacked: false, lost: false });
        } else if (kind === 2 && list.length > 0) {
          const acked = Math.min(count, list.length);
          una = (una + acked * MSS) | 0;
          board.acknowledge(una, now);
          list = list.slice(acked);
        } else if (kind === 3 && list.length > 0) {
          const first = at % list.length;
          const last = Math.min(list.length, first + count);
          board.sack((una + first * MSS) | 0, (una + last * MSS) | 0, now);
          for (let i = first; i < last; i++) list[i] = { ...list[i]!, sacked: true, lost: false };
        } else if (kind === 4) {
          board.loseAll();
          const reneged = list[0]?.sacked ?? false;
          for (const segment of list) {
            if (reneged) segment.sacked = false;
            if (!segment.sacked) segment.lost = true;
          }
        } else if (kind === 5) {
          const lost = board.nextLost();
          const expected = list.findIndex((segment) => segment.lost);
          assert.equal(lost, expected);
          if (lost >= 0) {
            board.resent(lost, now);
            list[lost]!.lost = false;
          }
        }
        const bytes = (filter: (segment: typeof list[0]) => boolean) =>
          list.filter(filter).length * MSS;
        assert.equal(board.count, list.length);
        assert.equal(board.sackedBytes, bytes((segment) => segment.sacked));
        assert.equal(board.lostBytes, bytes((segment) => segment.lost));
        assert.equal(board.pipe, bytes((segment) => !segment.sacked && !segment.lost));
      }
    },
  ));
});

Deno.test("IsLost as in RFC 6675 §4: three segments, or more than two MSS, SACKed above", () => {
  const MSS = 100;
  fc.assert(fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), (sacked) => {
    const board = new Scoreboard();
    board.reset(0);
    board.begin(10);
    sacked.forEach((_, i) => board.push((i + 1) * MSS, false, 1));
    sacked.forEach((yes, i) => yes && board.sack(i * MSS, (i + 1) * MSS, 2));
    board.markLost(MSS);
    const expected = sacked.map((yes, i) =>
      !yes && sacked.slice(i + 1).filter(Boolean).length >= 3
    );
    assert.equal(board.lostBytes, expected.filter(Boolean).length * MSS);
    assert.equal(board.nextLost(), expected.indexOf(true));
  }));
});

Deno.test("RTO as in the example of RFC 6298 §2", () => {
  const rto = new RtoEstimator({ ...DEFAULT_SETTINGS, minRtoMs: 1 });
  assert.equal(rto.current, 1_000);
  rto.sample(100, 1);
  assert.deepEqual([rto.smoothed, rto.variation, rto.current], [100, 50, 300]);
  rto.sample(200, 1);
  // RTTVAR = 3/4 · 50 + 1/4 · 100, SRTT = 7/8 · 100 + 1/8 · 200
  assert.deepEqual([rto.smoothed, rto.variation, rto.current], [112.5, 62.5, 362.5]);
  rto.backOff();
  assert.equal(rto.current, 725);
  rto.sample(112.5, 1);
  assert.equal(rto.backoff, 0);
});

Deno.test("RTO stays within its bounds", () => {
  fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 1e7, noNaN: true })), (samples) => {
    const rto = new RtoEstimator(DEFAULT_SETTINGS);
    for (const sample of samples) {
      rto.sample(sample, 1);
      if (sample > 1e5) rto.backOff();
      assert.ok(rto.current >= 200 && rto.current <= 120_000);
    }
  }));
});

Deno.test("sequence numbers compare modulo 2^32", () => {
  fc.assert(fc.property(fc.integer(), fc.integer({ min: 1, max: 2 ** 31 - 1 }), (a, step) => {
    const b = (a + step) | 0;
    assert.ok(before(a, b) && after(b, a) && !before(b, a) && !before(a, a));
    assert.equal(distance(b, a), step);
    assert.equal(latest(a, b), b);
    assert.equal(latest(b, a), b);
  }));
});

Deno.test("settings that make no sense are refused", () => {
  assert.throws(() => resolveSettings({ maxRetries: -1 }), RangeError);
  assert.throws(() => resolveSettings({ delayedAckMs: NaN }), RangeError);
  assert.throws(() => resolveSettings({ receiveBuffer: 0 }), RangeError);
});

/** The ranges out of order are just what arrived behind the first gap. */
function checkRanges(receiver: Receiver, have: Uint8Array, inOrder: number, start: number): void {
  let expected = 0;
  for (let i = inOrder; i < have.length; i++) if (have[i] === 1 && have[i - 1] !== 1) expected++;
  assert.equal(receiver.ranges, expected);
  const edges = new Int32Array(8);
  const count = receiver.sackBlocks(edges, 4, 0);
  for (let i = 0; i < count; i++) {
    const left = distance(edges[2 * i]!, start);
    const right = distance(edges[2 * i + 1]!, start);
    assert.ok(left < right && have.subarray(left, right).every((byte) => byte === 1));
  }
}

function hex(word: number): string {
  const bytes = [word, word >>> 8, word >>> 16, word >>> 24];
  return bytes.map((byte) => (byte & 255).toString(16).padStart(2, "0")).join("");
}

function plainSipHash(key: Uint8Array, words: number[]): bigint {
  const mask = (1n << 64n) - 1n;
  const view = new DataView(key.buffer, key.byteOffset);
  const [k0, k1] = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
  let [v0, v1, v2, v3] = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  const left = (x: bigint, n: bigint) => (x << n | x >> (64n - n)) & mask;
  const round = () => {
    v0 = (v0 + v1) & mask;
    v1 = left(v1, 13n) ^ v0;
    v0 = left(v0, 32n);
    v2 = (v2 + v3) & mask;
    v3 = left(v3, 16n) ^ v2;
    v0 = (v0 + v3) & mask;
    v3 = left(v3, 21n) ^ v0;
    v2 = (v2 + v1) & mask;
    v1 = left(v1, 17n) ^ v2;
    v2 = left(v2, 32n);
  };
  const blocks: bigint[] = [];
  for (let i = 0; i + 1 < words.length; i += 2) {
    blocks.push(BigInt(words[i + 1]! >>> 0) << 32n | BigInt(words[i]! >>> 0));
  }
  const rest = words.length % 2 === 1 ? BigInt(words.at(-1)! >>> 0) : 0n;
  blocks.push(BigInt((4 * words.length) & 255) << 56n | rest);
  for (const m of blocks) {
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  }
  v2 ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

Deno.test("a worklist gives its items back in order, and starts again", () => {
  const list = new Worklist<string>();
  for (const round of [["a", "b", "c"], ["d"], ["e", "f"]]) {
    for (const item of round) list.push(item);
    const taken = [];
    for (let i = 0; i < list.length; i++) taken.push(list.take(i));
    list.clear();
    assert.deepEqual([taken, list.length], [round, 0]);
  }
});
