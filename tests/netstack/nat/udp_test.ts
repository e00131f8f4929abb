/** RFC 4787: a test for each requirement. */

import assert from "node:assert/strict";
import { Nat } from "../../../netstack/mod.ts";
import { icmp, ip, packet, type Parsed, udp, udpDatagram, uint32 } from "../packets.ts";
import { A, A6, B, ends, EXTERNAL, EXTERNAL6, NatLab, portsOf, X, X6, Y, Y6 } from "./lab.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5);

for (
  const [family, inside, external, near, far] of [
    ["IPv4", A, EXTERNAL, X, Y],
    ["IPv6", A6, EXTERNAL6, X6, Y6],
  ] as const
) {
  Deno.test(`REQ-1: one mapping whoever a host's port talks to, over ${family}`, () => {
    const lab = new NatLab();
    const [first] = lab.out(udp(inside, 5000, near, 53, DATA));
    const [second] = lab.out(udp(inside, 5000, far, 99, DATA));
    assert.equal(ends(first!), `${external}:5000 > ${near}:53`);
    assert.equal(ends(second!), `${external}:5000 > ${far}:99`);
    assert.deepEqual([...first!.payload.subarray(8)], [...DATA]);
    assert.equal(first!.hopLimit, 63);
    const [reply] = lab.in(udp(near, 53, external, 5000, DATA));
    assert.equal(ends(reply!), `${near}:53 > ${inside}:5000`);
    assert.equal(lab.nat.mappings, 1);
    assert.equal(lab.stack.counters.ip.forwarded, 3);
  });
}

Deno.test("REQ-2: there is one address of a family, so that all mappings of a host have the same", () => {
  const random = (out: Uint8Array) => out.fill(1);
  for (const addresses of [[], [ip(EXTERNAL), ip(X)]]) {
    assert.throws(() => new Nat({ addresses, random }), {
      name: "RangeError",
      message: /^a NAT has one address of a family, or one of each, got/,
    });
  }
});

Deno.test("a family without an address of the NAT is routed as it is", () => {
  const lab = new NatLab({ addresses: [ip(EXTERNAL)] });
  assert.equal(ends(lab.out(udp(A6, 5000, X6, 53, DATA))[0]!), `${A6}:5000 > ${X6}:53`);
  assert.equal(ends(lab.in(udp(X6, 53, A6, 5000, DATA))[0]!), `${X6}:53 > ${A6}:5000`);
  assert.equal(lab.nat.mappings, 0);
});

Deno.test("REQ-3: a port has one holder: the second host that wants it gets another one", () => {
  const lab = new NatLab();
  const [first] = lab.out(udp(A, 5000, X, 53, DATA));
  const [second] = lab.out(udp(B, 5000, X, 53, DATA));
  const port = portsOf(second!)[0];
  assert.equal(portsOf(first!)[0], 5000);
  assert.ok(port !== 5000 && port >= 1024, `${port}`);
  assert.equal(ends(lab.in(udp(X, 53, EXTERNAL, port, DATA))[0]!), `${X}:53 > ${B}:5000`);
  assert.equal(ends(lab.in(udp(X, 53, EXTERNAL, 5000, DATA))[0]!), `${X}:53 > ${A}:5000`);
});

Deno.test("REQ-3 a, b: a port below 1,024 stays below, one from there on above", () => {
  const lab = new NatLab();
  for (const port of [500, 5000]) {
    for (let host = 2; host < 42; host++) {
      const [sent] = lab.out(udp(`192.168.0.${host}`, port, X, 53, DATA));
      assert.equal(portsOf(sent!)[0] < 1024, port < 1024);
    }
  }
});

Deno.test("REQ-4: a port that is changed stays even or odd", () => {
  const lab = new NatLab();
  for (let host = 2; host < 102; host++) {
    for (const port of [5000, 5001]) {
      const [sent] = lab.out(udp(`192.168.0.${host}`, port, X, 53, DATA));
      assert.equal(portsOf(sent!)[0] & 1, port & 1);
    }
  }
});

Deno.test("REQ-5: a mapping ends five minutes after its last packet out, and not in less than two", () => {
  const lab = new NatLab();
  lab.out(udp(A, 5000, X, 53, DATA));
  lab.sim.runFor(299_999);
  assert.equal(lab.nat.mappings, 1);
  assert.equal(lab.in(udp(X, 53, EXTERNAL, 5000, DATA)).length, 1);
  lab.sim.runFor(1);
  assert.equal(lab.nat.mappings, 0);
  assert.equal(lab.in(udp(X, 53, EXTERNAL, 5000, DATA)).length, 0);
  assert.equal(lab.nat.counters.unmapped, 1);
  assert.equal(lab.stack.counters.ip.untranslated, 1);
  assert.equal(lab.stack.pollTimeout(), Infinity);
  assert.throws(() => new NatLab({ udpMs: 119_999 }), {
    name: "RangeError",
    message: "a NAT's time for UDP is 120000 ms or more (RFC 4787 REQ-5), got 119999",
  });
});

Deno.test("REQ-6: a packet out keeps a mapping, one in does not", () => {
  const lab = new NatLab();
  lab.out(udp(A, 5000, X, 53, DATA));
  lab.sim.runFor(200_000);
  lab.out(udp(A, 5000, X, 53, DATA));
  lab.sim.runFor(200_000);
  assert.equal(lab.in(udp(X, 53, EXTERNAL, 5000, DATA)).length, 1);
  lab.sim.runFor(100_000);
  assert.equal(lab.nat.mappings, 0);
});

Deno.test("REQ-7: hosts behind the NAT may have its own address", () => {
  // As a phone does that knows its tunnel's address alone.
  const lab = new NatLab({ addresses: [ip("192.168.0.2")] });
  assert.equal(ends(lab.out(udp(A, 5000, Y, 53, DATA))[0]!), `${A}:5000 > ${Y}:53`);
  const [other] = lab.out(udp(B, 5000, Y, 53, DATA));
  const [port] = portsOf(other!);
  assert.equal(other!.source, A);
  assert.equal(ends(lab.in(udp(Y, 53, A, 5000, DATA))[0]!), `${Y}:53 > ${A}:5000`);
  assert.equal(ends(lab.in(udp(Y, 53, A, port, DATA))[0]!), `${Y}:53 > ${B}:5000`);
  assert.equal(lab.in(udp(Y, 53, A, 5001, DATA)).length, 0);
});

const FILTERING = {
  "endpoint": [true, true, true],
  "address": [true, true, false],
  "address-port": [true, false, false],
} as const;

for (const [filtering, [same, samePort, other]] of Object.entries(FILTERING)) {
  Deno.test(`REQ-8: who may send to a mapping with filtering by ${filtering}`, () => {
    const lab = new NatLab({ filtering: filtering as keyof typeof FILTERING });
    lab.out(udp(A, 5000, X, 53, DATA));
    const passes = (from: string, port: number) =>
      lab.in(udp(from, port, EXTERNAL, 5000, DATA)).length === 1;
    assert.equal(passes(X, 53), same);
    assert.equal(passes(X, 54), samePort);
    assert.equal(passes(Y, 53), other);
    const { filtered } = lab.nat.counters;
    assert.equal(filtered, [same, samePort, other].filter((passed) => !passed).length);
  });
}

Deno.test("REQ-9: hosts behind the NAT reach each other by its address, and see each other's external one", () => {
  const lab = new NatLab();
  lab.out(udp(B, 6000, X, 53, DATA)); // its mapping
  // B has not sent to the NAT's address yet, so A's first is filtered, and opens the way back.
  assert.deepEqual(lab.back(udp(A, 5000, EXTERNAL, 6000, DATA)), []);
  const [toA] = lab.back(udp(B, 6000, EXTERNAL, 5000, DATA));
  assert.equal(ends(toA!), `${EXTERNAL}:6000 > ${A}:5000`);
  const [toB] = lab.back(udp(A, 5000, EXTERNAL, 6000, DATA));
  assert.equal(ends(toB!), `${EXTERNAL}:5000 > ${B}:6000`);
  assert.equal(lab.nat.counters.hairpinned, 2);
  assert.deepEqual(lab.take().outside, []);
});

Deno.test("between two hosts behind the NAT nothing is translated that is not for its address", () => {
  const lab = new NatLab();
  assert.equal(ends(lab.back(udp(A, 5000, B, 6000, DATA))[0]!), `${A}:5000 > ${B}:6000`);
  assert.equal(lab.nat.mappings, 0);
});

Deno.test("REQ-10: no application's data is looked at or changed", () => {
  const lab = new NatLab();
  const data = new TextEncoder().encode("INVITE sip:bob@192.168.0.2:5000 c=IN IP4 192.168.0.2");
  const [sent] = lab.out(udp(A, 5060, X, 5060, data));
  assert.deepEqual(sent!.payload.slice(8), data);
});

Deno.test("REQ-11: what a mapping does depends on nothing but its host's packets, so two runs are equal", () => {
  const run = () => {
    const lab = new NatLab({ seed: 7 });
    const seen: string[] = [];
    for (let i = 0; i < 300; i++) {
      for (const each of lab.out(udp(`192.168.0.${2 + i % 5}`, 5000 + i % 7, X, i % 3, DATA))) {
        seen.push(ends(each));
      }
    }
    return seen;
  };
  assert.deepEqual(run(), run());
});

Deno.test("REQ-12: no ICMP error ends a mapping", () => {
  const lab = new NatLab();
  const [sent] = lab.out(udp(A, 5000, X, 53, DATA));
  assert.equal(lab.in(icmp(X, EXTERNAL, 3, 3, concatQuote(sent!))).length, 1);
  assert.equal(lab.in(udp(X, 53, EXTERNAL, 5000, DATA)).length, 1);
});

Deno.test("REQ-13: what is too big for the link beyond and must not be cut is told to the host, as it sent it", () => {
  const lab = new NatLab({ outsideMtu: 1280 });
  const sent = udp(A, 5000, X, 53, new Uint8Array(1400), { fragment: 0x4000 });
  const [error] = lab.back(sent);
  assert.equal(error!.source, "192.168.0.1");
  assert.deepEqual([...error!.payload.subarray(0, 2)], [3, 4]);
  assert.deepEqual(error!.payload.slice(8, 8 + 40), sent.slice(0, 40));
});

Deno.test("what is too big for the link behind the NAT is told to the sender beyond, as it sent it", () => {
  const lab = new NatLab({ insideMtu: 1280 });
  lab.out(udp(A, 5000, X, 53, DATA));
  const sent = udp(X, 53, EXTERNAL, 5000, new Uint8Array(1400), { fragment: 0x4000 });
  const [error] = lab.bounce(sent);
  assert.deepEqual([...error!.payload.subarray(0, 2)], [3, 4]);
  assert.deepEqual(error!.payload.slice(8, 8 + 40), sent.slice(0, 40));
});

Deno.test("what is too big and may be cut goes in fragments, translated", () => {
  const lab = new NatLab({ outsideMtu: 1280 });
  const parts = lab.out(udp(A, 5000, X, 53, new Uint8Array(1400)));
  assert.equal(parts.length, 2);
  assert.ok(
    parts.every(({ source, identification }) =>
      source === EXTERNAL && identification === parts[0]!.identification
    ),
  );
  assert.deepEqual(portsOf(parts[0]!), [5000, 53]);
});

Deno.test("a datagram without a checksum keeps none", () => {
  const lab = new NatLab();
  lab.out(udp(A, 5000, X, 53, DATA));
  // The parser of these tests verifies checksums, so the bytes are looked at where they leave.
  const seen: number[] = [];
  lab.inside.link = {
    ...silent(lab),
    forward: (buffer, offset) => {
      seen.push(buffer[offset + 26]! << 8 | buffer[offset + 27]!);
      return true;
    },
  };
  lab.in(udp(X, 53, EXTERNAL, 5000, DATA, { checksum: 0 }));
  assert.deepEqual(seen, [0]);
});

Deno.test("a sum that comes out as zero is written as ones: zero says that there is none", () => {
  const lab = new NatLab();
  // Data that makes the sum of what leaves all ones, so that the checksum would be zero.
  const bare = udpDatagram(EXTERNAL, 5000, X, 53, Uint8Array.of(0, 0));
  const data = Uint8Array.of(bare[6]!, bare[7]!);
  const [sent] = lab.out(udp(A, 5000, X, 53, data));
  assert.deepEqual([...sent!.payload.subarray(6, 8)], [0xff, 0xff]);
});

Deno.test("packets for an address behind the NAT itself do not pass", () => {
  const lab = new NatLab();
  lab.out(udp(A, 5000, X, 53, DATA));
  assert.deepEqual(lab.in(udp(X, 53, A, 5000, DATA)), []);
  assert.equal(lab.nat.counters.direct, 1);
});

Deno.test("what has neither ports nor identifiers does not pass, and its sender is told", () => {
  const lab = new NatLab();
  const gre = packet({ source: A, destination: X, protocol: 47, payload: uint32(0) });
  const [error] = lab.back(gre);
  assert.deepEqual([...error!.payload.subarray(0, 2)], [3, 13]);
  assert.equal(
    lab.in(packet({ source: X, destination: EXTERNAL, protocol: 47, payload: uint32(0) })).length,
    0,
  );
  assert.equal(lab.nat.counters.otherProtocol, 2);
});

function concatQuote({ bytes }: Parsed): Uint8Array {
  const out = new Uint8Array(4 + bytes.length);
  out.set(bytes, 4);
  return out;
}

function silent(lab: NatLab) {
  const { buffer } = lab.inside.link;
  return { buffer, allocate: () => -1, release() {}, transmit() {} };
}
