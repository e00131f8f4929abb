/** RFC 5382: a test for each requirement. */

import assert from "node:assert/strict";
import { concat, icmp, parse, type Parsed, tcpSegment, tcpSyn, uint32 } from "../packets.ts";
import { A, A6, B, ends, EXTERNAL, EXTERNAL6, NatLab, portsOf, X, X6, Y } from "./lab.ts";

const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;
const MINUTE = 60_000;
const ESTABLISHED = 124 * MINUTE;
const TRANSITORY = 4 * MINUTE;

/** Segments of a connection between A, port 5000, and X, port 80. */
const up = (flags: number) => tcpSegment(A, 5000, X, 80, 1000, 1, flags);
const down = (flags: number, port = 80, from = X) =>
  tcpSegment(from, port, EXTERNAL, 5000, 1, 1000, flags);

function established(lab = new NatLab()): NatLab {
  assert.equal(lab.out(up(SYN)).length, 1);
  assert.equal(lab.in(down(SYN | ACK)).length, 1);
  assert.equal(lab.out(up(ACK)).length, 1);
  return lab;
}

for (
  const [family, inside, external, far] of [
    ["IPv4", A, EXTERNAL, X],
    ["IPv6", A6, EXTERNAL6, X6],
  ] as const
) {
  Deno.test(`REQ-1, REQ-2: a connection begun behind the NAT, and one mapping for all of a port's, over ${family}`, () => {
    const lab = new NatLab();
    const [syn] = lab.out(tcpSyn(inside, 5000, far, 80));
    assert.equal(ends(syn!), `${external}:5000 > ${far}:80`);
    const [answer] = lab.in(tcpSegment(far, 80, external, 5000, 7, 1001, SYN | ACK));
    assert.equal(ends(answer!), `${far}:80 > ${inside}:5000`);
    const [second] = lab.out(tcpSyn(inside, 5000, far, 81));
    assert.equal(ends(second!), `${external}:5000 > ${far}:81`);
    assert.equal(lab.nat.mappings, 1);
    assert.equal(lab.nat.sessions, 2);
  });
}

Deno.test("REQ-2: a simultaneous open: both SYNs pass, and both answers", () => {
  const lab = new NatLab();
  assert.equal(lab.out(up(SYN)).length, 1);
  assert.equal(lab.in(down(SYN)).length, 1);
  assert.equal(lab.out(up(SYN | ACK)).length, 1);
  assert.equal(lab.in(down(SYN | ACK)).length, 1);
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.nat.sessions, 1);
});

Deno.test("REQ-2, REQ-3: a connection begun beyond the NAT passes from an address that the host has spoken to", () => {
  const lab = established();
  const [syn] = lab.in(down(SYN, 4321));
  assert.equal(ends(syn!), `${X}:4321 > ${A}:5000`);
  const [answer] = lab.out(tcpSegment(A, 5000, X, 4321, 5, 2, SYN | ACK));
  assert.equal(ends(answer!), `${EXTERNAL}:5000 > ${X}:4321`);
  assert.equal(lab.in(down(ACK, 4321)).length, 1);
  assert.deepEqual(lab.in(down(SYN, 4321, Y)), []);
  assert.equal(lab.nat.counters.filtered, 1);
});

Deno.test("REQ-3: with filtering by endpoint it passes from anywhere, by address and port from nowhere else", () => {
  const open = established(new NatLab({ filtering: "endpoint" }));
  assert.equal(open.in(down(SYN, 4321, Y)).length, 1);
  const closed = established(new NatLab({ filtering: "address-port" }));
  assert.equal(closed.in(down(SYN, 4321)).length, 0);
  assert.equal(closed.in(down(ACK)).length, 1);
});

Deno.test("an address may no longer begin connections when the last with it has ended", () => {
  const lab = established();
  lab.out(tcpSyn(A, 5000, Y, 80)); // keeps the mapping for as long
  lab.in(tcpSegment(Y, 80, EXTERNAL, 5000, 1, 1000, SYN | ACK));
  lab.out(up(RST));
  lab.sim.runFor(TRANSITORY);
  assert.equal(lab.nat.sessions, 1);
  assert.deepEqual(lab.in(down(SYN, 4321)), []);
  assert.equal(lab.in(tcpSegment(Y, 80, EXTERNAL, 5000, 1, 1000, ACK)).length, 1);
});

Deno.test("REQ-4: a SYN that nobody asked for is answered after six seconds, for a port with a mapping or without", () => {
  for (const [port, counter] of [[5000, "filtered"], [5001, "unmapped"]] as const) {
    const lab = established();
    const syn = tcpSyn(Y, 4321, EXTERNAL, port);
    assert.deepEqual(lab.bounce(syn, syn), []);
    assert.equal(lab.nat.counters[counter], 2);
    lab.sim.runFor(5_999);
    assert.deepEqual(lab.take(), { inside: [], outside: [] });
    lab.sim.runFor(1);
    const { outside } = lab.take();
    assert.equal(outside.length, 1, "once for both");
    assert.equal(outside[0]!.source, EXTERNAL);
    assert.deepEqual([...outside[0]!.payload.subarray(0, 2)], [3, 3]);
    assert.deepEqual(outside[0]!.payload.slice(8, 8 + 40), syn);
    assert.equal(lab.nat.counters.synsReported, 1);
    assert.equal(lab.nat.waiting, 0);
  }
});

Deno.test("REQ-4: it is never answered when the host opens the connection meanwhile", () => {
  const lab = new NatLab();
  assert.deepEqual(lab.bounce(down(SYN)), []);
  lab.sim.runFor(5_000);
  assert.equal(lab.out(up(SYN)).length, 1);
  lab.sim.runFor(10_000);
  assert.deepEqual(lab.take(), { inside: [], outside: [] });
  assert.equal(lab.in(down(SYN)).length, 1, "sent again it passes");
});

Deno.test("REQ-4: SYNs that wait have a bound, and what is no SYN is not answered", () => {
  const lab = new NatLab();
  for (let port = 1; port <= 1_000; port++) lab.bounce(tcpSyn(Y, port, EXTERNAL, 5000));
  lab.bounce(tcpSegment(X, 1, EXTERNAL, 5000, 1, 1, ACK));
  assert.equal(lab.nat.waiting, 256);
  assert.equal(lab.nat.counters.unmapped, 1_001);
  lab.sim.runFor(6_000);
  const answers = lab.take().outside;
  assert.ok(answers.length > 0 && answers.length <= 256);
  assert.ok(answers.every(({ destination }) => destination === Y));
  assert.equal(lab.nat.waiting, 0);
});

Deno.test("REQ-5: an established connection lasts 2 h 4 min without a packet either way", () => {
  const lab = established();
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.in(down(ACK)).length, 1);
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.out(up(ACK)).length, 1);
  lab.sim.runFor(ESTABLISHED);
  assert.equal(lab.nat.mappings, 0);
  assert.deepEqual(lab.in(down(ACK)), []);
});

const BEGINNINGS: Record<string, (lab: NatLab) => void> = {
  "a SYN without an answer": (lab) => lab.out(up(SYN)),
  "a connection that both have ended": (lab) => {
    established(lab).out(up(FIN | ACK));
    lab.in(down(FIN | ACK));
    lab.out(up(ACK));
  },
  "a connection that was reset from behind": (lab) => established(lab).out(up(RST)),
  "a connection that was reset from beyond": (lab) => established(lab).in(down(RST)),
};

for (const [what, begin] of Object.entries(BEGINNINGS)) {
  Deno.test(`REQ-5: ${what} lasts four minutes`, () => {
    const lab = new NatLab();
    begin(lab);
    lab.sim.runFor(TRANSITORY - 1);
    assert.equal(lab.nat.mappings, 1);
    lab.sim.runFor(1);
    assert.equal(lab.nat.mappings, 0);
    assert.equal(lab.stack.pollTimeout(), Infinity);
  });
}

Deno.test("REQ-5: what one side has ended lasts as long as before: the other may send for hours", () => {
  const lab = established();
  lab.out(up(FIN | ACK));
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.in(down(ACK)).length, 1);
});

Deno.test("REQ-5: a reset that the receiver does not believe ends nothing", () => {
  const lab = established();
  lab.in(down(RST));
  lab.out(up(ACK));
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.nat.mappings, 1);
});

Deno.test("a SYN begins a connection anew where the last one has ended, from its four minutes on", () => {
  const lab = new NatLab();
  BEGINNINGS["a connection that both have ended"]!(lab);
  lab.out(up(SYN));
  lab.sim.runFor(TRANSITORY - 1);
  lab.in(down(SYN | ACK));
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.nat.mappings, 1);
});

Deno.test("REQ-5: shorter times are refused", () => {
  assert.throws(() => new NatLab({ tcpEstablishedMs: ESTABLISHED - 1 }), {
    message: "a NAT's time for established TCP is 7440000 ms or more (RFC 5382 REQ-5), got 7439999",
  });
  assert.throws(() => new NatLab({ tcpTransitoryMs: TRANSITORY - 1 }), {
    message: "a NAT's time for transitory TCP is 240000 ms or more (RFC 5382 REQ-5), got 239999",
  });
});

Deno.test("REQ-6: no application's data is looked at or changed", () => {
  const lab = established();
  const data = new TextEncoder().encode("PORT 192,168,0,2,19,136\r\n");
  const [sent] = lab.out(tcpSegment(A, 5000, X, 80, 1001, 2, ACK, {}, data));
  assert.deepEqual(sent!.payload.slice(20), data);
  assert.equal(lab.nat.mappings, 1, "and nobody is let in for it");
});

Deno.test("REQ-7: no two hosts have one port", () => {
  const lab = new NatLab();
  const ports = new Set<number>();
  for (let host = 2; host < 202; host++) {
    const [syn] = lab.out(tcpSyn(`192.168.0.${host}`, 5000, X, 80));
    ports.add(portsOf(syn!)[0]);
  }
  assert.equal(ports.size, 200);
});

Deno.test("REQ-8: two hosts behind the NAT connect by its address, each seeing the other's external end", () => {
  const lab = new NatLab({ filtering: "endpoint" });
  lab.out(tcpSyn(B, 6000, X, 80));
  const [syn] = lab.back(tcpSyn(A, 5000, EXTERNAL, 6000));
  assert.equal(ends(syn!), `${EXTERNAL}:5000 > ${B}:6000`);
  const [answer] = lab.back(tcpSegment(B, 6000, EXTERNAL, 5000, 1, 1001, SYN | ACK));
  assert.equal(ends(answer!), `${EXTERNAL}:6000 > ${A}:5000`);
  assert.equal(lab.nat.counters.hairpinned, 2);
});

Deno.test("REQ-4, REQ-8: hosts behind the NAT that open a connection at once by its address hear of no closed port", () => {
  const lab = new NatLab();
  lab.out(tcpSyn(A, 5000, X, 80), tcpSyn(B, 6000, X, 80));
  assert.deepEqual(lab.back(tcpSyn(A, 5000, EXTERNAL, 6000)), []); // B has not sent there yet
  const [syn] = lab.back(tcpSyn(B, 6000, EXTERNAL, 5000));
  assert.equal(ends(syn!), `${EXTERNAL}:6000 > ${A}:5000`);
  assert.equal(lab.nat.waiting, 0);
  lab.sim.runFor(10_000);
  assert.deepEqual(lab.take(), { inside: [], outside: [] });
});

Deno.test("REQ-9: a Destination Unreachable about a segment comes to the host that sent it", () => {
  const lab = new NatLab();
  const [sent] = lab.out(up(SYN));
  const [error] = lab.in(about(sent!, "198.51.100.99"));
  assert.equal(error!.source, "198.51.100.99");
  assert.equal(error!.destination, A);
  const quoted = parse(error!.payload.slice(8));
  assert.equal(ends(quoted), `${A}:5000 > ${X}:80`);
});

Deno.test("REQ-10: no ICMP error ends a connection", () => {
  const lab = established();
  const [sent] = lab.out(up(ACK));
  assert.equal(lab.in(about(sent!, X)).length, 1);
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.in(down(ACK)).length, 1);
});

Deno.test("a connection that was there before the NAT goes on when its host sends, by the same port", () => {
  const lab = new NatLab();
  assert.deepEqual(lab.in(down(ACK)), []);
  assert.equal(ends(lab.out(up(ACK))[0]!), `${EXTERNAL}:5000 > ${X}:80`);
  assert.equal(lab.in(down(ACK)).length, 1);
  lab.sim.runFor(ESTABLISHED - 1);
  assert.equal(lab.nat.mappings, 1);
});

Deno.test("a reset of what is not known makes no mapping, and a port 0 no packet", () => {
  const lab = new NatLab();
  assert.deepEqual(lab.out(up(RST), tcpSyn(A, 5000, X, 0), tcpSyn(A, 0, X, 80)), []);
  assert.equal(lab.nat.mappings, 0);
  assert.equal(lab.nat.counters.unasked, 1);
  assert.equal(lab.nat.counters.malformed, 2);
});

/** "Host unreachable" about a packet that arrived somewhere. */
function about({ bytes, source }: Parsed, from: string): Uint8Array {
  return icmp(from, source, 3, 1, concat(uint32(0), bytes));
}
