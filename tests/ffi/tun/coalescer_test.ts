import assert from "node:assert/strict";
import * as fc from "fast-check";
import { BIN_BYTES, BINS, Coalescer, PIECE_AT } from "../../../ffi/tun/coalescer.ts";
import { plainSum } from "../../../ffi/tun/layout.ts";
import { cutPlainly, flowArbitrary, packetOf } from "./packets.ts";

const AT = 64;

/** What the kernel is given for these packets; undefined = a flush. */
function coalesce(packets: (Uint8Array | undefined)[], datagrams = true): Uint8Array[] {
  const memory = new Uint8Array(AT + Coalescer.bytes);
  const pieces: Uint8Array[] = [];
  const coalescer = new Coalescer(memory, AT, plainSum, datagrams, (bin, length) => {
    const from = AT + bin * BIN_BYTES + PIECE_AT;
    pieces.push(memory.slice(from, from + length));
  });
  for (const packet of packets) {
    if (packet === undefined) coalescer.flush();
    else {
      // In any buffer, of which the rest is none of its business.
      const buffer = new Uint8Array(packet.length + 20).fill(0xee);
      buffer.set(packet, 7);
      coalescer.push(buffer, 7, packet.length);
    }
  }
  coalescer.flush();
  return pieces;
}

/** Where a packet of a flow that may not be fragmented has an identification, it means nothing. */
function withoutId(packet: Uint8Array): string {
  const copy = packet.slice();
  if (copy[0] === 0x45 && (copy[6]! & 0x40) !== 0) copy.fill(0, 4, 6).fill(0, 10, 12);
  return copy.toHex();
}

/** Packets by their flow, which is what keeps its order. */
function byFlow(packets: Uint8Array[]): Map<string, string[]> {
  const flows = new Map<string, string[]>();
  for (const packet of packets) {
    const is4 = packet[0]! >> 4 === 4;
    const [from, to, protocol] = is4 ? [12, 24, 9] : [8, 44, 6];
    const key = `${packet[protocol]} ${packet.subarray(from, to).toHex()}`;
    flows.set(key, [...flows.get(key) ?? [], withoutId(packet)]);
  }
  return flows;
}

/** A few flows, whose packets come mixed; most follow one another. */
const packetsArbitrary = fc.array(flowArbitrary, { minLength: 1, maxLength: 4 }).chain((flows) =>
  fc.array(
    fc.record({
      flow: fc.nat(flows.length - 1),
      length: fc.oneof({ weight: 4, arbitrary: fc.constant(100) }, {
        weight: 1,
        arbitrary: fc.integer({ min: 0, max: 120 }),
      }),
      flags: fc.oneof(
        { weight: 8, arbitrary: fc.constant(0x10) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
      ),
      step: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.constantFrom(-100, 100, 1)),
      changes: fc.oneof(
        { weight: 12, arbitrary: fc.constant({}) },
        fc.constantFrom(
          { window: 9 },
          { acknowledgment: 9 },
          { hopLimit: 9 },
          { trafficClass: 9 },
          { id: 9 },
          { dontFragment: true },
          { options: new Uint8Array(4).fill(1) },
        ),
      ),
      isSpoiled: fc.oneof({ weight: 12, arbitrary: fc.constant(false) }, fc.constant(true)),
      isFlushed: fc.oneof({ weight: 12, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
    { maxLength: 60 },
  ).map((items) => {
    const next = flows.map(() => ({ sequence: 0xffff_ff00, id: 0xfff0 }));
    return items.flatMap((item) => {
      const { length, flags, step, changes } = item;
      const flow = flows[item.flow]!;
      const state = next[item.flow]!;
      state.sequence += step;
      const data = Uint8Array.from({ length }, (_, i) => i * 7 + state.sequence);
      const tcp = {
        ...{ sequence: state.sequence, acknowledgment: 5, window: 500, flags },
        options: flow.options,
        ...changes,
      };
      const fields = { ...flow, id: state.id, data, ...changes };
      const packet = packetOf({ ...fields, ...(flow.isTcp && { tcp }) });
      if (item.isSpoiled) packet[packet.length - 1]! ^= 1;
      state.sequence += length;
      state.id = state.id + 1 & 0xffff;
      return item.isFlushed ? [packet, undefined] : [packet];
    });
  })
);

Deno.test("what is put together, the kernel cuts into the same packets, in each flow's order", () => {
  fc.assert(
    fc.property(packetsArbitrary, fc.boolean(), (packets, datagrams) => {
      const pieces = coalesce(packets, datagrams);
      for (const piece of pieces) assert.ok(piece.length <= 10 + 65_535);
      const given = packets.filter((packet) => packet !== undefined);
      assert.deepEqual(byFlow(pieces.flatMap(cutPlainly)), byFlow(given));
    }),
    { numRuns: 1000 },
  );
});

const TCP_FLOW = {
  ...{ isIpv4: true, source: 1, destination: 2, ports: [1, 2] as const, trafficClass: 0 },
  ...{ hopLimit: 64, dontFragment: true },
};

function segments(count: number, length: number, source = 1): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => {
    const options = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2);
    const tcp = { sequence: i * length, acknowledgment: 1, flags: 0x10, window: 500, options };
    return packetOf({ ...TCP_FLOW, source, id: 0, data: new Uint8Array(length).fill(i), tcp });
  });
}

Deno.test("a stream's segments become pieces of up to 64 KiB", () => {
  const packets = segments(100, 1388);
  const pieces = coalesce(packets);
  assert.deepEqual(pieces.map((piece) => Math.ceil((piece.length - 62) / 1388)), [47, 47, 6]);
  assert.equal(pieces.flatMap(cutPlainly).length, 100);
});

Deno.test("streams that come mixed are put together each for itself, as many as there are bins", () => {
  const streams = Array.from({ length: BINS }, (_, i) => segments(20, 1000, i + 1));
  const mixed = Array.from({ length: 20 }, (_, i) => streams.map((stream) => stream[i]!)).flat();
  assert.equal(coalesce(mixed).length, BINS);
  // With one more the one that has waited longest goes, whoever comes: none is kept for ever.
  const more = [...streams, segments(20, 1000, 100)];
  const tooMany = Array.from({ length: 20 }, (_, i) => more.map((stream) => stream[i]!)).flat();
  assert.deepEqual(byFlow(coalesce(tooMany).flatMap(cutPlainly)), byFlow(tooMany));
});

Deno.test("a damaged segment reaches the kernel as it is, for it to see", () => {
  const packets = segments(5, 1000);
  packets[2]![500]! ^= 1;
  const pieces = coalesce(packets);
  assert.deepEqual(pieces.map((piece) => piece[0]), [1, 0, 1]);
  assert.deepEqual(pieces[1]!.subarray(10), packets[2]);
});

Deno.test("datagrams of one size become one piece where the kernel knows how, and 64 at most", () => {
  const packets = Array.from(
    { length: 70 },
    (_, i) => packetOf({ ...TCP_FLOW, id: 0, data: new Uint8Array(500).fill(i) }),
  );
  assert.equal(coalesce(packets).length, 2);
  assert.equal(coalesce(packets, false).length, 70);
});

Deno.test("fragments, other protocols and rubbish go alone and unchanged", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 100 })), (packets) => {
    const [first] = segments(1, 50);
    first![6] = 0x20; // more fragments
    const pieces = coalesce([...packets, first!, first!]);
    assert.deepEqual(
      pieces.map((piece) => piece.slice(10).toHex()),
      [...packets, first!, first!].map((packet) => packet.toHex()),
    );
  }));
});
