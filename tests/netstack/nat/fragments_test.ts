/** RFC 4787 REQ-14: fragments, in and out of order, within bounds. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { Random } from "../../sim/random.ts";
import { concat, ip, packet, type Parsed, udpDatagram, uint16, uint32 } from "../packets.ts";
import { A, A6, B, B6, EXTERNAL, EXTERNAL6, NatLab, X, X6 } from "./lab.ts";

const MORE = 0x2000;
const FRAGMENT_HEADER = 44;

/** A UDP datagram in `count` fragments of 64 bytes and the rest. */
function fragments(
  from: string,
  fromPort: number,
  to: string,
  toPort: number,
  identification: number,
  count = 4,
  fill = 7,
): Uint8Array[] {
  const data = new Uint8Array(64 * count - 8 - 3).fill(fill);
  const datagram = udpDatagram(from, fromPort, to, toPort, data);
  return Array.from({ length: count }, (_, i) => {
    const payload = datagram.slice(64 * i, 64 * (i + 1));
    const isLast = i === count - 1;
    if (!from.includes(":")) {
      const fragment = 8 * i | (isLast ? 0 : MORE);
      return packet({
        source: from,
        destination: to,
        protocol: 17,
        payload,
        identification,
        fragment,
      });
    }
    const header = concat(
      Uint8Array.of(17, 0),
      uint16(64 * i | (isLast ? 0 : 1)),
      uint32(identification),
    );
    return packet({
      source: from,
      destination: to,
      protocol: FRAGMENT_HEADER,
      payload: concat(header, payload),
    });
  });
}

/** Puts them together, and says what the datagram is, its checksum verified. */
function whole(
  parts: Parsed[],
): { source: string; destination: string; ports: number[]; fill: number } {
  const isIpv4 = parts[0]!.version === 4;
  const placeOf = ({ fragment }: Parsed) => isIpv4 ? (fragment & 0x1fff) * 8 : fragment & ~7;
  const sorted = parts.toSorted((a, b) => placeOf(a) - placeOf(b));
  const payload = concat(...sorted.map(({ payload }) => payload));
  const { source, destination } = parts[0]!;
  for (const part of parts) {
    assert.equal(part.source, source);
    assert.equal(part.destination, destination);
    assert.equal(part.identification, parts[0]!.identification);
  }
  const at = (i: number) => payload[i]! << 8 | payload[i + 1]!;
  const expected = udpDatagram(source, at(0), destination, at(2), payload.slice(8));
  assert.deepEqual(payload, expected);
  return { source, destination, ports: [at(0), at(2)], fill: payload[8]! };
}

for (
  const [family, inside, other, external, far] of [
    ["IPv4", A, B, EXTERNAL, X],
    ["IPv6", A6, B6, EXTERNAL6, X6],
  ] as const
) {
  Deno.test(`REQ-14: fragments in every order are translated, both ways and back, over ${family}`, () => {
    fc.assert(fc.property(fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }), (order) => {
      const lab = new NatLab({ filtering: "endpoint" });
      const send = (parts: Uint8Array[]) => order.map((i) => parts[i]!);
      const gone = lab.out(...send(fragments(inside, 5000, far, 53, 99)));
      assert.deepEqual(whole(gone), {
        source: external,
        destination: far,
        ports: [5000, 53],
        fill: 7,
      });
      const come = lab.in(...send(fragments(far, 53, external, 5000, 77)));
      assert.deepEqual(whole(come), {
        source: far,
        destination: inside,
        ports: [53, 5000],
        fill: 7,
      });
      const back = lab.back(...send(fragments(other, 6000, external, 5000, 55)));
      assert.deepEqual(whole(back), {
        source: external,
        destination: inside,
        ports: [6000, 5000],
        fill: 7,
      });
      const { ip: counters } = lab.stack.counters;
      assert.equal(counters.fragmentsHeld, 3 * order.indexOf(0));
      assert.equal(counters.fragmentsReleased, counters.fragmentsHeld);
      assert.equal(counters.forwarded, 12);
    }));
  });

  Deno.test(`hosts that give packets one identification do not have their fragments put together beyond, over ${family}`, () => {
    const lab = new NatLab();
    const ours = fragments(inside, 5000, far, 53, 99, 4, 1);
    const theirs = fragments(other, 6000, far, 53, 99, 4, 2);
    const gone = lab.out(...ours.flatMap((part, i) => [part, theirs[i]!]));
    const identifications = new Set(gone.map(({ identification }) => identification));
    assert.equal(identifications.size, 2);
    for (const each of identifications) {
      const parts = gone.filter(({ identification }) => identification === each);
      const { ports, fill } = whole(parts);
      assert.deepEqual([ports[0], fill], fill === 1 ? [5000, 1] : [6000, 2]);
    }
  });

  Deno.test(`fragments whose first does not come are given up after half a minute, over ${family}`, () => {
    const lab = new NatLab();
    assert.deepEqual(lab.out(...fragments(inside, 5000, far, 53, 99).slice(1)), []);
    assert.equal(lab.stack.resources().natFragments, 1);
    lab.sim.runFor(30_000);
    assert.equal(lab.stack.resources().natFragments, 0);
    assert.equal(lab.nat.counters.fragments, 3);
    assert.equal(lab.stack.pollTimeout(), Infinity);
  });
}

Deno.test("fragments of what may not come in go no further than the first", () => {
  const lab = new NatLab();
  assert.deepEqual(lab.in(...fragments(X, 53, EXTERNAL, 5000, 77)), []);
  assert.equal(lab.nat.counters.unmapped, 1);
  lab.sim.runFor(30_000);
  assert.equal(lab.nat.counters.fragments, 3);
});

Deno.test("who begins ever new packets does not cut off those of others", () => {
  const lab = new NatLab();
  const parts = fragments(A, 5000, X, 53, 1);
  const out = lab.out(parts[0]!);
  for (let i = 0; i < 3_000; i++) lab.out(fragments(B, 6000, X, 53, i)[0]!);
  out.push(...lab.out(...parts.slice(1)));
  assert.equal(whole(out).ports[1], 53);
});

Deno.test("what is held has a bound for a sender and for all, and none of it stays", () => {
  const lab = new NatLab();
  const random = new Random(5);
  let sent = 0;
  for (let i = 0; i < 4_000; i++) {
    // From 16 addresses, ever new packets without a first fragment, of 1,400 bytes.
    const source = `203.0.113.${100 + i % 16}`;
    const bytes = packet({
      source,
      destination: EXTERNAL,
      protocol: 17,
      payload: random.bytes(1_400),
      identification: i,
      fragment: MORE | 200,
    });
    lab.stack.handlePacket(lab.outside, bytes, 0, bytes.length, lab.sim.now);
    sent++;
  }
  const { natFragments } = lab.stack.resources();
  assert.ok(natFragments <= 1_024, `${natFragments}`);
  const held = sent - lab.nat.counters.fragments;
  assert.ok(held * 1_420 <= 1 << 20, `${held} held`);
  assert.ok(held > 500, `${held} held`);
  lab.sim.runFor(30_000);
  assert.equal(lab.nat.counters.fragments, sent);
  assert.equal(lab.stack.resources().natFragments, 0);
});

Deno.test("an ICMP error in fragments does not pass: its checksum cannot be judged", () => {
  const lab = new NatLab();
  lab.out(
    packet({
      source: A,
      destination: X,
      protocol: 17,
      payload: udpDatagram(A, 5000, X, 53, new Uint8Array(8)),
    }),
  );
  const error = concat(Uint8Array.of(3, 1, 0, 0, 0, 0, 0, 0), new Uint8Array(40));
  assert.deepEqual(
    lab.in(
      packet({ source: X, destination: EXTERNAL, protocol: 1, payload: error, fragment: MORE }),
    ),
    [],
  );
  assert.equal(lab.nat.counters.badError, 1);
  assert.equal(lab.nat.external(4)!.equals(ip(EXTERNAL)), true);
});
