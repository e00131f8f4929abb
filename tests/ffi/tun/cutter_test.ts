import assert from "node:assert/strict";
import * as fc from "fast-check";
import { Cutter, MAX_HEADERS } from "../../../ffi/tun/cutter.ts";
import { plainSum } from "../../../ffi/tun/layout.ts";
import { checksum, cutPlainly, flowArbitrary, packetOf, pseudoHeader } from "./packets.ts";

const AT = 64;

/** The packets that come of a piece, or undefined if it is refused. What takes one spoils it. */
function cut(piece: Uint8Array): Uint8Array[] | undefined {
  const memory = new Uint8Array(AT + MAX_HEADERS + 70_000);
  const cutter = new Cutter(memory, 70_000, plainSum);
  memory.set(piece, AT);
  if (!cutter.begin(AT, piece.length)) {
    assert.equal(cutter.next(), false);
    return undefined;
  }
  const packets: Uint8Array[] = [];
  while (cutter.next()) {
    packets.push(memory.slice(cutter.offset, cutter.offset + cutter.length));
    memory.fill(0xee, cutter.offset, cutter.offset + cutter.length);
  }
  return packets;
}

/** A piece as the kernel hands it out: one packet with a partial checksum, and how to cut it. */
const pieceArbitrary = fc.record({
  flow: flowArbitrary,
  id: fc.integer({ min: 0, max: 0xffff }),
  sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
  flags: fc.constantFrom(0x10, 0x18, 0x19, 0x98, 0x50),
  size: fc.integer({ min: 1, max: 1500 }),
  length: fc.integer({ min: 1, max: 9000 }),
  seed: fc.integer({ min: 0, max: 255 }),
}).map(({ flow, id, sequence, flags, size, length, seed }) => {
  const data = Uint8Array.from({ length }, (_, i) => i * 31 + seed);
  const tcp = { sequence, acknowledgment: 7, flags, window: 500, options: flow.options };
  const packet = packetOf({ ...flow, id, data, ...(flow.isTcp && { tcp }) });
  const start = flow.isIpv4 ? 20 : 40;
  const field = flow.isTcp ? 16 : 6;
  const partial = checksum(pseudoHeader(packet, packet.length - start)) ^ 0xffff;
  packet.set([partial >> 8, partial & 0xff], start + field);
  const type = (flow.isTcp ? flow.isIpv4 ? 1 : 4 : 5) | (flags & 0x80 ? 0x80 : 0);
  const piece = Uint8Array.from([1, type, 0, 0, 0, 0, 0, 0, 0, 0, ...packet]);
  const view = new DataView(piece.buffer);
  view.setUint16(2, 9999, true); // the kernel's own length of the headers is no use
  view.setUint16(4, size, true);
  view.setUint16(6, start, true);
  view.setUint16(8, field, true);
  return piece;
});

Deno.test("a piece is cut into the packets of a plain twin, with right checksums", () => {
  fc.assert(
    fc.property(pieceArbitrary, (piece) => {
      const packets = cut(piece);
      assert.deepEqual(packets, cutPlainly(piece));
      for (const packet of packets!) {
        const start = packet[0] === 0x45 ? 20 : 40;
        const rest = packet.subarray(start);
        assert.equal(checksum(pseudoHeader(packet, rest.length), rest), 0);
        if (start === 20) assert.equal(checksum(packet.subarray(0, 20)), 0);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("a packet whose checksum was left to the device gets it, one without stays as it is", () => {
  fc.assert(fc.property(pieceArbitrary, (piece) => {
    piece[1] = 0;
    assert.deepEqual(cut(piece), cutPlainly(piece));
    piece.fill(0, 0, 10);
    assert.deepEqual(cut(piece), [piece.slice(10)]);
  }));
});

Deno.test("a packet behind extension headers of IPv6 is cut too", () => {
  const data = new Uint8Array(3000).fill(5);
  const tcp = { sequence: 1, acknowledgment: 2, flags: 0x18, window: 3, options: new Uint8Array() };
  const plain = packetOf({
    ...{ isIpv4: false, source: 1, destination: 2, ports: [1, 2], trafficClass: 0, hopLimit: 64 },
    ...{ id: 0, dontFragment: true, data, tcp },
  });
  const extended = Uint8Array.from([
    ...[...plain.subarray(0, 40)],
    ...[6, 0, 1, 4, 0, 0, 0, 0],
    ...plain.subarray(40),
  ]);
  extended[6] = 0; // hop-by-hop options
  extended[5] = extended.length - 40 & 0xff;
  extended[4] = extended.length - 40 >> 8;
  const piece = Uint8Array.from([1, 4, 0, 0, 0xe8, 3, 48, 0, 16, 0, ...extended]);
  const packets = cut(piece)!;
  assert.deepEqual(packets, cutPlainly(piece));
  assert.equal(packets.length, 3);
});

Deno.test("what makes no sense is refused, and nothing is read or written outside", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 0, maxLength: 10 }),
      fc.uint8Array({ minLength: 0, maxLength: 200 }),
      fc.constantFrom(0, 1, 4, 5, 0x81, 3),
      fc.constantFrom(0x45, 0x60, 0x4f, 0),
      (header, body, type, first) => {
        const piece = Uint8Array.from([...header, ...body]);
        if (piece.length > 10) [piece[1], piece[10]] = [type, first];
        const packets = cut(piece);
        for (const packet of packets ?? []) assert.ok(packet.length <= piece.length);
      },
    ),
    { numRuns: 2000 },
  );
  const whole = fc.sample(pieceArbitrary, { numRuns: 1, seed: 1 })[0]!;
  const spoiled = (change: (piece: Uint8Array) => void) => {
    const piece = whole.slice();
    change(piece);
    return cut(piece);
  };
  assert.equal(spoiled((piece) => piece[0] = 0), undefined, "segments without a partial checksum");
  assert.equal(spoiled((piece) => piece.fill(0, 4, 6)), undefined, "segments of nothing");
  assert.equal(spoiled((piece) => piece[1] = 3), undefined, "a type that was not asked for");
  assert.equal(spoiled((piece) => piece[7] = 0xff), undefined, "a header behind the end");
  assert.equal(cut(whole.subarray(0, 25)), undefined);
});
