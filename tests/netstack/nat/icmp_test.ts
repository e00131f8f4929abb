/** RFC 5508: a test for each requirement. */

import assert from "node:assert/strict";
import {
  concat,
  icmp,
  packet,
  parse,
  type Parsed,
  tcpSyn,
  udp,
  uint16,
  uint32,
} from "../packets.ts";
import { A, A6, B, ends, EXTERNAL, EXTERNAL6, NatLab, portsOf, X, X6, Y, Y6 } from "./lab.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5);

/** An echo, or a timestamp. */
function query(from: string, to: string, type: number, identifier: number): Uint8Array {
  return icmp(from, to, type, 0, concat(uint16(identifier), uint16(1), new Uint8Array(12)));
}

for (
  const [family, inside, external, near, far, stranger, request, reply] of [
    ["IPv4", A, EXTERNAL, X, Y, "192.0.2.9", 8, 0],
    ["IPv6", A6, EXTERNAL6, X6, Y6, "2001:db8:9::9", 128, 129],
  ] as const
) {
  Deno.test(`REQ-1: a ping and its reply, with one identifier whoever is pinged, over ${family}`, () => {
    const lab = new NatLab();
    assert.equal(
      ends(lab.out(query(inside, near, request, 77))[0]!),
      `${external}:77 > ${near}:77`,
    );
    assert.equal(ends(lab.out(query(inside, far, request, 77))[0]!), `${external}:77 > ${far}:77`);
    assert.equal(lab.nat.mappings, 1);
    assert.equal(ends(lab.in(query(near, external, reply, 77))[0]!), `${near}:77 > ${inside}:77`);
    assert.deepEqual(lab.in(query(stranger, external, reply, 77)), []);
    assert.equal(lab.nat.counters.filtered, 1);
  });

  Deno.test(`REQ-3, REQ-4: an error from beyond comes to the host, with what it had sent, over ${family}`, () => {
    for (
      const sent of [
        udp(inside, 5000, near, 53, DATA),
        tcpSyn(inside, 5000, near, 80),
        query(inside, near, request, 5000),
      ]
    ) {
      const lab = new NatLab();
      const [gone] = lab.out(sent);
      const [type, code] = family === "IPv4" ? [11, 0] : [3, 0];
      const [error] = lab.in(icmp(far, external, type, code, concat(uint32(0), gone!.bytes)));
      assert.equal(error!.source, far);
      assert.equal(error!.destination, inside);
      assert.deepEqual([...error!.payload.subarray(0, 2)], [type, code], "left as it is");
      const quoted = parse(error!.payload.slice(8)); // which verifies its checksums
      assert.equal(ends(quoted), ends(parse(sent)));
    }
  });

  Deno.test(`REQ-5: an error from behind the NAT, by whatever router there, is one from its address, over ${family}`, () => {
    const lab = new NatLab();
    lab.out(udp(inside, 5000, near, 53, DATA));
    const [come] = lab.in(udp(near, 53, external, 5000, DATA));
    const [type, code] = family === "IPv4" ? [3, 3] : [1, 4];
    for (const router of family === "IPv4" ? [A, "192.168.0.99"] : [A6, "fd01::99"]) {
      const [error] = lab.out(icmp(router, near, type, code, concat(uint32(0), come!.bytes)));
      assert.equal(error!.source, external);
      assert.equal(error!.destination, near);
      assert.equal(ends(parse(error!.payload.slice(8))), `${near}:53 > ${external}:5000`);
    }
  });

  Deno.test(`REQ-7: an error about a hairpinned packet goes back the same way, over ${family}`, () => {
    const lab = new NatLab({ filtering: "endpoint" });
    const other = family === "IPv4" ? B : "fd01::3";
    lab.out(udp(other, 6000, near, 53, DATA));
    const [come] = lab.back(udp(inside, 5000, external, 6000, DATA));
    assert.equal(ends(come!), `${external}:5000 > ${other}:6000`);
    const [type, code] = family === "IPv4" ? [3, 3] : [1, 4];
    const [error] = lab.back(icmp(other, external, type, code, concat(uint32(0), come!.bytes)));
    assert.equal(error!.source, external);
    assert.equal(error!.destination, inside);
    assert.equal(ends(parse(error!.payload.slice(8))), `${inside}:5000 > ${external}:6000`);
  });
}

Deno.test("REQ-1: timestamps go as echoes do", () => {
  const lab = new NatLab();
  assert.equal(ends(lab.out(query(A, X, 13, 9))[0]!), `${EXTERNAL}:9 > ${X}:9`);
  assert.equal(ends(lab.in(query(X, EXTERNAL, 14, 9))[0]!), `${X}:9 > ${A}:9`);
});

Deno.test("REQ-1: an identifier has one holder", () => {
  const lab = new NatLab();
  lab.out(query(A, X, 8, 77));
  const [second] = lab.out(query(B, X, 8, 77));
  const [identifier] = portsOf(second!);
  assert.notEqual(identifier, 77);
  assert.equal(ends(lab.in(query(X, EXTERNAL, 0, identifier))[0]!), `${X}:77 > ${B}:77`);
});

Deno.test("REQ-1: queries from beyond do not pass, and replies to none neither way", () => {
  const lab = new NatLab();
  lab.out(query(A, X, 8, 77));
  assert.deepEqual(lab.in(query(X, EXTERNAL, 8, 77), query(X, EXTERNAL, 0, 78)), []);
  assert.equal(lab.nat.counters.unmapped, 2);
  assert.deepEqual(lab.out(query(A, X, 0, 77)), []);
  assert.equal(lab.nat.counters.unasked, 1);
});

Deno.test("REQ-2: a mapping of pings ends 60 s after the last one out, and not in less", () => {
  const lab = new NatLab();
  lab.out(query(A, X, 8, 77));
  lab.sim.runFor(59_999);
  assert.equal(lab.in(query(X, EXTERNAL, 0, 77)).length, 1);
  lab.sim.runFor(1);
  assert.equal(lab.nat.mappings, 0);
  assert.throws(() => new NatLab({ icmpMs: 59_999 }), {
    message: "a NAT's time for ICMP is 60000 ms or more (RFC 5508 REQ-2), got 59999",
  });
});

Deno.test("REQ-3: an error with a wrong checksum is dropped, and one that quotes a header with one", () => {
  const lab = new NatLab();
  const [gone] = lab.out(udp(A, 5000, X, 53, DATA));
  const error = about(gone!, X);
  error[20 + 2]! ^= 1;
  assert.deepEqual(lab.in(error), []);
  const damaged = gone!.bytes.slice();
  damaged[8]! ^= 1;
  assert.deepEqual(lab.in(icmp(X, EXTERNAL, 3, 1, concat(uint32(0), damaged))), []);
  assert.equal(lab.nat.counters.badError, 2);
});

Deno.test("REQ-3 b: options in front of what is quoted are passed over", () => {
  const lab = new NatLab();
  const options = Uint8Array.of(1, 1, 1, 0);
  const [gone] = lab.out(udp(A, 5000, X, 53, DATA, { options }));
  assert.equal(gone!.bytes[0], 0x46);
  const [error] = lab.in(about(gone!, X));
  assert.equal(ends(parse(error!.payload.slice(8))), `${A}:5000 > ${X}:53`);
});

Deno.test("REQ-3 c: the checksum of what is quoted is not judged, and the change of it right all the same", () => {
  const lab = new NatLab();
  const [gone] = lab.out(udp(A, 5000, X, 53, DATA));
  // As routers quote: 8 bytes, whose checksum covers what is not there.
  const [error] = lab.in(icmp(X, EXTERNAL, 3, 1, concat(uint32(0), gone!.bytes.slice(0, 28))));
  const quoted = error!.payload.slice(8);
  assert.deepEqual([...quoted.subarray(20)], [...udp(A, 5000, X, 53, DATA).subarray(20, 28)]);
});

Deno.test("REQ-3 d: extensions behind what is quoted are left as they are", () => {
  const lab = new NatLab();
  const [gone] = lab.out(udp(A, 5000, X, 53, DATA));
  // RFC 4884: padded to 128 bytes, of which the length tells, then the extension.
  const extension = Uint8Array.of(0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 2, 3);
  const padding = new Uint8Array(128 - gone!.bytes.length);
  const rest = concat(Uint8Array.of(0, 32, 0, 0), gone!.bytes, padding, extension);
  const [error] = lab.in(icmp(X, EXTERNAL, 11, 0, rest));
  assert.deepEqual(error!.payload.slice(8 + 128), extension);
  assert.equal(ends({ ...error!, ...quotedOf(error!, gone!.bytes.length) }), `${A}:5000 > ${X}:53`);
});

Deno.test("REQ-4, REQ-5: errors about what is not known do not pass, either way", () => {
  const lab = new NatLab();
  const [gone] = lab.out(udp(A, 5000, X, 53, DATA));
  const [come] = lab.in(udp(X, 53, EXTERNAL, 5000, DATA));
  const forged = [
    udp(EXTERNAL, 5001, X, 53, DATA), // no mapping
    udp(EXTERNAL, 5000, Y, 53, DATA), // the host has not sent there
    tcpSyn(EXTERNAL, 5000, X, 53), // another protocol's mapping
    packet({ source: EXTERNAL, destination: X, protocol: 47, payload: uint32(0) }),
  ];
  for (const bytes of forged) {
    assert.deepEqual(lab.in(icmp(Y, EXTERNAL, 3, 1, concat(uint32(0), bytes))), []);
  }
  // To somebody else than the sender of what is quoted.
  assert.deepEqual(lab.in(icmp(Y, EXTERNAL, 3, 1, concat(uint32(0), come!.bytes))), []);
  assert.deepEqual(lab.out(icmp(A, Y, 3, 3, concat(uint32(0), udp(Y, 53, A, 5000, DATA)))), []);
  assert.equal(lab.nat.counters.unknownError, 6);
  assert.equal(lab.in(about(gone!, Y)).length, 1);
});

Deno.test("REQ-6: an error neither keeps nor ends a mapping", () => {
  const lab = new NatLab();
  const [gone] = lab.out(query(A, X, 8, 77));
  lab.sim.runFor(50_000);
  assert.equal(lab.in(about(gone!, X)).length, 1);
  lab.sim.runFor(9_999);
  assert.equal(lab.in(query(X, EXTERNAL, 0, 77)).length, 1);
  lab.sim.runFor(1);
  assert.equal(lab.nat.mappings, 0);
});

Deno.test("ICMP in IPv6, and ICMPv6 in IPv4, are protocols that are not translated, in an error too", () => {
  // A timestamp in IPv6 came out with an IPv4 mapping's address in the place of its source.
  for (
    const [inside, external, remote, protocol, types] of [
      [A6, EXTERNAL6, X6, 1, [13, 14]],
      [A, EXTERNAL, X, 58, [128, 129]],
    ] as const
  ) {
    const lab = new NatLab();
    for (const type of types) {
      const payload = concat(Uint8Array.of(type, 0), uint16(0), uint16(77), new Uint8Array(14));
      const gone = packet({ source: inside, destination: remote, protocol, payload });
      const [refused] = lab.back(gone);
      assert.deepEqual([...refused!.payload.subarray(0, 2)], inside === A ? [3, 13] : [1, 1]);
      assert.deepEqual(
        lab.in(packet({ source: remote, destination: external, protocol, payload })),
        [],
      );
      const error = concat(uint32(0), gone);
      const unreachable = inside === A
        ? icmp(X, EXTERNAL, 3, 1, error)
        : icmp(X6, EXTERNAL6, 1, 0, error);
      assert.deepEqual(lab.in(unreachable), []);
    }
    const { otherProtocol, unknownError } = lab.nat.counters;
    assert.deepEqual([otherProtocol, unknownError, lab.nat.mappings], [4, 2, 0]);
  }
});

Deno.test("REQ-8, REQ-10, REQ-11: what cannot be translated is prohibited outbound, and dropped inbound", () => {
  const lab = new NatLab();
  // Information and address mask requests; source quench, redirect, router solicitation.
  for (const type of [15, 17]) {
    const [error] = lab.back(query(A, X, type, 1));
    assert.deepEqual([...error!.payload.subarray(0, 2)], [3, 13]);
  }
  for (const type of [4, 5, 10]) assert.deepEqual(lab.out(query(A, X, type, 1)), []);
  for (const type of [4, 5, 9, 15, 16, 17]) {
    assert.deepEqual(lab.in(query(X, EXTERNAL, type, 1)), []);
  }
  assert.equal(lab.nat.counters.otherProtocol, 11);
});

Deno.test("REQ-9: no policy keeps an error back but the limit of rate that all errors have", () => {
  const lab = new NatLab();
  const expired = udp(A, 5000, X, 53, DATA, { hopLimit: 1 });
  const told = lab.back(...Array.from({ length: 1_000 }, () => expired)).length;
  assert.ok(told >= 10 && told < 1_000, `${told}`);
  assert.equal(lab.stack.counters.icmp.errorsRateLimited, 1_000 - told);
  lab.sim.runFor(10_000);
  assert.equal(lab.back(expired).length, 1);
});

Deno.test("REQ-10: a packet whose TTL ends at the NAT is told to its sender on either side as it was sent", () => {
  const lab = new NatLab();
  lab.out(udp(A, 5000, X, 53, DATA));
  const out = udp(A, 5000, X, 53, DATA, { hopLimit: 1 });
  const [toHost] = lab.back(out);
  assert.equal(toHost!.destination, A);
  assert.deepEqual(toHost!.payload.slice(8), out);
  const back = udp(X, 53, EXTERNAL, 5000, DATA, { hopLimit: 1 });
  const [toSender] = lab.bounce(back);
  assert.equal(toSender!.destination, X);
  assert.deepEqual(toSender!.payload.slice(8), back);
});

Deno.test("what the next hop beyond cannot take is told to the host as it was sent", () => {
  const lab = new NatLab();
  const { buffer } = lab.outside.link;
  lab.outside.link = {
    buffer,
    allocate: () => -1,
    release() {},
    transmit() {},
    forward: () => false,
  };
  const sent = udp(A, 5000, X, 53, DATA);
  const [error] = lab.back(sent);
  assert.equal(error!.destination, A);
  assert.deepEqual(error!.payload.slice(8), sent);
});

/** "Host unreachable" about a packet that arrived somewhere. */
function about({ bytes, source }: Parsed, from: string): Uint8Array {
  return icmp(from, source, 3, 1, concat(uint32(0), bytes));
}

function quotedOf({ payload }: Parsed, length: number): Parsed {
  return parse(payload.slice(8, 8 + length));
}
