import assert from "node:assert/strict";
import { IpCounters } from "../../netstack/counters.ts";
import { Nic } from "../../netstack/nic.ts";
import { DEFAULT_REASSEMBLY, Reassembly } from "../../netstack/reassembly.ts";
import { Sim } from "../sim/network.ts";
import { Random } from "../sim/random.ts";
import { forSeeds } from "../sim/seeds.ts";
import { concat, packet, parseHeader, UDP, uint16, uint32 } from "./packets.ts";

const link = new Sim(1).link().a;
const nic = new Nic(1, { name: "wg", mtu: 1500, link });
const otherNic = new Nic(2, { name: "other", mtu: 1500, link });
const NO_DATA = new Uint8Array(0);

interface Piece {
  start: number;
  data: Uint8Array;
  more: boolean;
  identification?: number;
  source?: string;
}

class Lab {
  readonly counters = new IpCounters();
  readonly reassembly: Reassembly;
  readonly version: 4 | 6;
  now = 0;

  constructor(version: 4 | 6, settings = {}) {
    this.version = version;
    const random = new Random(1);
    this.reassembly = new Reassembly(settings, this.counters, (out) => random.fill(out));
  }

  bytes({ start, data, more, identification = 7, source }: Piece): Uint8Array {
    if (this.version === 4) {
      return packet({
        source: source ?? "10.0.0.1",
        destination: "10.0.0.2",
        protocol: UDP,
        identification,
        fragment: start / 8 | (more ? 0x2000 : 0),
        payload: data,
      });
    }
    return packet({
      source: source ?? "fd00::1",
      destination: "fd00::2",
      protocol: 44,
      payload: concat(
        Uint8Array.of(UDP, 0),
        uint16(start | (more ? 1 : 0)),
        uint32(identification),
        data,
      ),
    });
  }

  /** @returns The whole payload, once it is there. */
  add(piece: Piece, on = nic): Uint8Array | undefined {
    // At an odd place in a larger buffer, as in a batch.
    const bytes = concat(Uint8Array.of(1, 2, 3), this.bytes(piece), Uint8Array.of(4, 5));
    const length = bytes.length - 5;
    const total = this.version === 4
      ? this.reassembly.handleIpv4(on, undefined, bytes, 3, length, this.now)
      : this.reassembly.handleIpv6(on, undefined, bytes, 3, 43, length, this.now);
    if (total === 0) return undefined;
    const { buffer, offset } = this.reassembly;
    const parsed = parseHeader(buffer.slice(offset, offset + total));
    assert.equal(parsed.fragment, 0);
    assert.equal(parsed.protocol, UDP);
    return parsed.payload;
  }
}

/** Random cuts at multiples of eight. */
function cut(random: Random, data: Uint8Array, most: number): Piece[] {
  const pieces: Piece[] = [];
  for (let start = 0; start < data.length;) {
    const length = Math.min(data.length - start, 8 * random.between(1, most));
    pieces.push({
      start,
      data: data.slice(start, start + length),
      more: start + length < data.length,
    });
    start += length;
  }
  return pieces;
}

function shuffle<T>(random: Random, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}

for (const version of [4, 6] as const) {
  Deno.test(`IPv${version}: any fragmentation, in any order, with duplicates, gives the datagram once`, () => {
    forSeeds(300, (seed) => {
      const random = new Random(seed);
      const lab = new Lab(version);
      const data = random.bytes(random.between(9, 5000));
      const pieces = cut(random, data, 40);
      if (pieces.length < 2) return;
      const last = shuffle(random, pieces).at(-1)!;
      const first = pieces.slice(0, -1);
      const repeated = first.filter(() => random.chance(0.3));
      for (const piece of [...first, ...shuffle(random, repeated)]) {
        assert.equal(lab.add(piece), undefined);
      }
      assert.deepEqual(lab.add(last), data);
      assert.equal(lab.reassembly.size, 0);
      assert.equal(lab.reassembly.memory, 0);
      assert.equal(lab.reassembly.pollTimeout(), Infinity);
    });
  });

  Deno.test(`IPv${version}: random overlaps end as in the plain twin: the whole datagram is given up`, () => {
    forSeeds(300, (seed) => {
      const random = new Random(seed);
      const lab = new Lab(version);
      const data = random.bytes(8 * random.between(4, 60));
      const pieces = cut(random, data, 8);
      for (let i = 0; i < 3; i++) {
        const start = 8 * random.below(data.length / 8);
        const length = Math.min(data.length - start, 8 * random.between(1, 8));
        const more = start + length < data.length || random.chance(0.3);
        pieces.push({ start, data: data.slice(start, start + length), more });
      }
      shuffle(random, pieces);
      const twin = new PlainReassembly();
      for (const piece of pieces) {
        assert.deepEqual(lab.add(piece), twin.add(piece), `piece at ${piece.start}`);
        if (twin.done) return;
      }
    });
  });

  Deno.test(`IPv${version}: what still comes of a datagram given up for overlap comes to nothing`, () => {
    const lab = new Lab(version);
    const data = new Random(1).bytes(64);
    lab.add({ start: 0, data: data.slice(0, 24), more: true });
    lab.add({ start: 16, data: data.slice(16, 32), more: true });
    assert.equal(lab.counters.reassemblyOverlap, 1);
    lab.add({ start: 0, data: data.slice(0, 32), more: true });
    assert.equal(lab.add({ start: 32, data: data.slice(32), more: false }), undefined);
    assert.equal(lab.counters.reassemblyOverlap, 1);
    assert.equal(lab.reassembly.size, 1);
    lab.reassembly.handleTimeout(60_000, () => assert.fail("nothing to report"));
    assert.equal(lab.reassembly.size, 0);
    assert.equal(lab.reassembly.memory, 0);
  });

  Deno.test(`IPv${version}: a repeated fragment with other bytes is an overlap`, () => {
    const lab = new Lab(version);
    lab.add({ start: 0, data: new Uint8Array(8).fill(1), more: true });
    lab.add({ start: 0, data: new Uint8Array(8).fill(2), more: true });
    assert.equal(lab.counters.reassemblyOverlap, 1);
  });

  Deno.test(`IPv${version}: two ends, or data behind the end, contradict each other`, () => {
    const eight = new Uint8Array(8);
    const contradictions: [Piece, Piece][] = [
      [{ start: 16, data: eight, more: false }, { start: 32, data: eight, more: false }],
      [{ start: 16, data: eight, more: false }, { start: 24, data: eight, more: true }],
      [{ start: 32, data: eight, more: true }, { start: 16, data: eight, more: false }],
      [{ start: 16, data: eight, more: false }, { start: 16, data: eight, more: true }],
    ];
    for (const [first, second] of contradictions) {
      const lab = new Lab(version);
      lab.add(first);
      lab.add(second);
      assert.equal(lab.counters.reassemblyOverlap, 1);
    }
  });

  Deno.test(`IPv${version}: impossible fragments are refused without a trace`, () => {
    const lab = new Lab(version);
    lab.add({ start: 0, data: NO_DATA, more: true });
    lab.add({ start: 0, data: new Uint8Array(7), more: true });
    // The ping of death: ends behind 65,535.
    lab.add({ start: 65_528, data: new Uint8Array(100), more: false });
    assert.equal(lab.counters.badFragment, 3);
    assert.equal(lab.reassembly.size, 0);
  });

  Deno.test(`IPv${version}: source, identification and NIC keep datagrams apart`, () => {
    const lab = new Lab(version);
    const one = new Random(1).bytes(16);
    const two = new Random(2).bytes(16);
    const other = version === 4 ? "10.0.0.9" : "fd00::9";
    const pieces = (data: Uint8Array, more: Partial<Piece>): Piece[] => [
      { start: 0, data: data.slice(0, 8), more: true, ...more },
      { start: 8, data: data.slice(8), more: false, ...more },
    ];
    for (const different of [{ identification: 8 }, { source: other }]) {
      const [a1, a2] = pieces(one, {}) as [Piece, Piece];
      const [b1, b2] = pieces(two, different) as [Piece, Piece];
      lab.add(a1);
      lab.add(b1);
      assert.deepEqual(lab.add(a2), one);
      assert.deepEqual(lab.add(b2), two);
    }
    lab.add({ start: 0, data: one.slice(0, 8), more: true });
    assert.equal(lab.add({ start: 8, data: one.slice(8), more: false }, otherNic), undefined);
    lab.reassembly.removeNic(otherNic);
    assert.equal(lab.reassembly.size, 1);
    assert.deepEqual(lab.add({ start: 8, data: one.slice(8), more: false }), one);
  });

  Deno.test(`IPv${version}: a datagram may have 65,535 bytes and not one more piece than the cap`, () => {
    const most = 65_535 - (version === 4 ? 20 : 0);
    const lab = new Lab(version);
    const data = new Random(1).bytes(most);
    let whole: Uint8Array | undefined;
    for (let start = 0; start < most; start += 552) {
      const end = Math.min(most, start + 552);
      whole = lab.add({ start, data: data.slice(start, end), more: end < most });
    }
    assert.ok(whole !== undefined && whole.length === most && whole.every((x, i) => x === data[i]));
    for (let i = 0; i <= DEFAULT_REASSEMBLY.maxFragments; i++) {
      lab.add({ start: 16 * i, data: new Uint8Array(8), more: true });
    }
    assert.equal(lab.counters.reassemblyTooMany, 1);
  });

  Deno.test(`IPv${version}: a datagram waits as long as it may, and its first fragment is reported`, () => {
    const lab = new Lab(version);
    const limit = version === 4 ? 30_000 : 60_000;
    const data = new Random(1).bytes(24);
    lab.now = 500;
    lab.add({ start: 0, data: data.slice(0, 16), more: true });
    lab.now = 10_000; // a later fragment gives no more time
    lab.add({ start: 32, data: data.slice(0, 8), more: true });
    lab.add({ start: 32, data, more: true, identification: 8 }); // first fragment never comes
    const reported: Uint8Array[] = [];
    const report = (_nic: Nic, buffer: Uint8Array, offset: number, length: number) => {
      reported.push(buffer.slice(offset, offset + length));
    };
    assert.equal(lab.reassembly.pollTimeout(), 500 + limit);
    lab.reassembly.handleTimeout(500 + limit - 1, report);
    assert.equal(lab.counters.reassemblyTimeout, 0);
    lab.reassembly.handleTimeout(500 + limit, report);
    lab.reassembly.handleTimeout(10_000 + limit, report);
    assert.equal(lab.counters.reassemblyTimeout, 2);
    assert.deepEqual(reported, [lab.bytes({ start: 0, data: data.slice(0, 16), more: true })]);
    assert.equal(lab.reassembly.size + lab.reassembly.memory, 0);
  });

  Deno.test(`FragmentSmack, IPv${version}: a flood of fragments is held within the limit, the newest live`, () => {
    const lab = new Lab(version);
    const { high, low } = DEFAULT_REASSEMBLY;
    let most = 0;
    for (let i = 0; i < 40_000; i++) {
      // Each would have to reserve 64 KB if memory followed the offset.
      lab.add({ start: 65_000, data: new Uint8Array(8), more: true, identification: i });
      most = Math.max(most, lab.reassembly.memory);
    }
    assert.ok(most <= high);
    assert.ok(lab.reassembly.memory > low / 2);
    assert.ok(lab.reassembly.size > 4000, `${lab.reassembly.size} held`);
    assert.ok(lab.counters.reassemblyEvicted > 30_000);
    const data = new Random(1).bytes(16);
    lab.add({ start: 0, data: data.slice(0, 8), more: true, identification: 50_000 });
    const whole = lab.add({ start: 8, data: data.slice(8), more: false, identification: 50_000 });
    assert.deepEqual(whole, data);
  });

  Deno.test(`FragmentSmack, IPv${version}: the worst order costs no more than a few times the best`, () => {
    const lab = new Lab(version);
    const packetsOf = (order: readonly number[]) =>
      order.map((i) => lab.bytes({ start: 16 * i, data: new Uint8Array(8), more: true }));
    const time = (packets: readonly Uint8Array[]) => {
      const start = performance.now();
      for (const bytes of packets) {
        if (version === 4) lab.reassembly.handleIpv4(nic, undefined, bytes, 0, bytes.length, 0);
        else lab.reassembly.handleIpv6(nic, undefined, bytes, 0, 40, bytes.length, 0);
      }
      const taken = performance.now() - start;
      lab.reassembly.removeNic(nic);
      return taken;
    };
    const order = Array.from({ length: 256 }, (_, i) => i);
    const [forward, backward] = [packetsOf(order), packetsOf(order.toReversed())];
    // In turn, and so short that some of each are not interrupted on a busy machine.
    const best = { forward: Infinity, backward: Infinity };
    for (let round = 0; round < 200; round++) {
      best.forward = Math.min(best.forward, time(forward));
      best.backward = Math.min(best.backward, time(backward));
    }
    assert.ok(best.backward < 20 * best.forward, JSON.stringify(best));
  });
}

Deno.test("IPv4: a second fragment inside the TCP header is refused (RFC 1858)", () => {
  const lab = new Lab(4);
  const bytes = packet({
    source: "10.0.0.1",
    destination: "10.0.0.2",
    protocol: 6,
    fragment: 1,
    payload: new Uint8Array(20),
  });
  assert.equal(lab.reassembly.handleIpv4(nic, undefined, bytes, 0, bytes.length, 0), 0);
  assert.equal(lab.counters.badFragment, 1);
  assert.equal(lab.reassembly.size, 0);
});

Deno.test("a datagram larger than the whole limit is evicted itself, and leaves nothing behind", () => {
  const lab = new Lab(4, { high: 2000, low: 1000 });
  lab.add({ start: 0, data: new Uint8Array(800), more: true });
  lab.add({ start: 800, data: new Uint8Array(1600), more: true });
  assert.equal(lab.counters.reassemblyEvicted, 1);
  assert.equal(lab.reassembly.size, 0);
  assert.equal(lab.reassembly.memory, 0);
  assert.equal(lab.reassembly.pollTimeout(), Infinity);
});

/** Byte by byte. */
class PlainReassembly {
  done = false;
  #given = false;
  #total = -1;
  readonly #bytes = new Map<number, number>();
  readonly #seen: string[] = [];

  add({ start, data, more }: Piece): Uint8Array | undefined {
    if (this.#given) return undefined;
    const name = `${start} ${data} ${more}`;
    if (this.#seen.includes(name)) return undefined;
    this.#seen.push(name);
    const end = start + data.length;
    const furthest = Math.max(0, ...[...this.#bytes.keys()].map((at) => at + 1));
    const overlaps = [...data.keys()].some((i) => this.#bytes.has(start + i));
    const contradicts = more
      ? this.#total >= 0 && end >= this.#total
      : this.#total >= 0 || furthest > end;
    if (overlaps || contradicts) {
      this.#given = true;
      return undefined;
    }
    if (!more) this.#total = end;
    data.forEach((byte, i) => this.#bytes.set(start + i, byte));
    if (this.#bytes.size !== this.#total) return undefined;
    this.done = true;
    return Uint8Array.from({ length: this.#total }, (_, i) => this.#bytes.get(i)!);
  }
}
