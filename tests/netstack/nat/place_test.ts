/** Where a NAT stands: towards rules, towards other NATs, and what it leaves alone. */

import assert from "node:assert/strict";
import { Nat, type TransitPacket } from "../../../netstack/mod.ts";
import { addNic, icmp, ip, parse, type Parsed, prefix, tcpSyn, udp } from "../packets.ts";
import { A, B, ends, EXTERNAL, NatLab, portsOf, X } from "./lab.ts";

const DATA = Uint8Array.of(1, 2, 3);

/** Notes what a filter is asked about. */
function watch(lab: NatLab, verdict: "pass" | "reject" | "drop" = "pass"): string[] {
  const seen: string[] = [];
  lab.stack.setTransitFilter({
    handlePacket: (packet: TransitPacket) => {
      const { buffer, source, destination, version, sourcePort, destinationPort } = packet;
      const size = version === 4 ? 4 : 16;
      const at = (offset: number) => buffer.slice(offset, offset + size).join(".");
      seen.push(`${at(source)}:${sourcePort} > ${at(destination)}:${destinationPort}`);
      return verdict;
    },
  });
  return seen;
}

Deno.test("rules see a packet before its source is translated, and after its destination is", () => {
  const lab = new NatLab();
  const seen = watch(lab);
  const [gone] = lab.out(udp(B, 5000, X, 53, DATA));
  lab.in(udp(X, 53, EXTERNAL, portsOf(gone!)[0], DATA));
  assert.deepEqual(seen, [`${B}:5000 > ${X}:53`, `${X}:53 > ${B}:5000`]);
});

Deno.test("of a hairpinned packet rules see both hosts, both ways", () => {
  const lab = new NatLab({ filtering: "endpoint" });
  lab.out(udp(B, 6000, X, 53, DATA));
  const seen = watch(lab);
  lab.back(udp(A, 5000, EXTERNAL, 6000, DATA));
  lab.back(udp(B, 6000, EXTERNAL, 5000, DATA));
  assert.deepEqual(seen, [`${A}:5000 > ${B}:6000`, `${B}:6000 > ${A}:5000`]);
});

Deno.test("what a rule rejects makes no mapping outbound, and is answered as it came inbound", () => {
  const lab = new NatLab();
  lab.out(udp(A, 5000, X, 53, DATA));
  lab.out(tcpSyn(A, 5000, X, 80));
  watch(lab, "reject");
  const [refused] = lab.back(udp(A, 5001, X, 53, DATA));
  assert.deepEqual([...refused!.payload.subarray(0, 2)], [3, 13]);
  assert.equal(lab.nat.mappings, 2);
  const back = udp(X, 53, EXTERNAL, 5000, DATA);
  const [error] = lab.bounce(back);
  assert.deepEqual(error!.payload.slice(8), back);
  const [reset] = lab.bounce(tcpSyn(X, 80, EXTERNAL, 5000));
  assert.equal(ends(reset!), `${EXTERNAL}:5000 > ${X}:80`);
});

/** A lab with a second NAT: what is behind it has the address 203.0.113.99 beyond. */
function twoNats(): { lab: NatLab; second: (bytes: Uint8Array) => Parsed[] } {
  const lab = new NatLab({ filtering: "endpoint" });
  const link = lab.sim.link({ mtu: 1500 });
  const nic = addNic(lab.stack, link.a, { name: "second", forwarding: true }, ["172.16.0.1/24"]);
  const random = (out: Uint8Array) => lab.sim.random.fill(out);
  const nat = new Nat({ addresses: [ip("203.0.113.99")], random, filtering: "endpoint" });
  lab.stack.setNat(nic, nat);
  const arrived: Parsed[] = [];
  link.b.receive = (buffer, offset, length) => {
    arrived.push(parse(buffer.slice(offset, offset + length)));
  };
  return {
    lab,
    second: (bytes) => {
      if (bytes.length > 0) lab.send(nic, [bytes]);
      return arrived.splice(0);
    },
  };
}

Deno.test("two NATs: each host sees the address of the other's", () => {
  const { lab, second } = twoNats();
  second(udp("172.16.0.2", 7000, X, 53, DATA));
  lab.take();
  lab.out(udp(A, 5000, "203.0.113.99", 7000, DATA));
  const [come] = second(new Uint8Array(0));
  assert.equal(ends(come!), `${EXTERNAL}:5000 > 172.16.0.2:7000`);
  second(udp("172.16.0.2", 7000, EXTERNAL, 5000, DATA));
  assert.equal(ends(lab.take().inside[0]!), `203.0.113.99:7000 > ${A}:5000`);
  // And what is reported about it finds its way.
  const rest = new Uint8Array(4 + come!.bytes.length);
  rest.set(come!.bytes, 4);
  second(icmp("172.16.0.2", EXTERNAL, 3, 3, rest));
  const [error] = lab.take().inside;
  assert.equal(error!.source, "203.0.113.99");
  assert.equal(ends(parse(error!.payload.slice(8))), `${A}:5000 > 203.0.113.99:7000`);
});

Deno.test("what NIC 2 takes is not translated", () => {
  const lab = new NatLab();
  const proxy = lab.stack.addNic({
    name: "proxy",
    mtu: 65_535,
    link: lab.sim.link().a,
    promiscuous: true,
    spoofing: true,
  });
  lab.stack.routes.insert(prefix("10.50.0.0/16"), proxy);
  const seen: string[] = [];
  lab.stack.setUdpForwarder(proxy, {
    datagram: (flow, destination) => {
      seen.push(`${flow.client}:${flow.clientPort} > ${destination}`);
      return "accept";
    },
  });
  lab.send(lab.inside, [udp(A, 5000, "10.50.0.1", 53, DATA)]);
  assert.deepEqual(seen, [`${A}:5000 > 10.50.0.1`]);
  assert.equal(lab.nat.mappings, 0);
});

Deno.test("a NAT cannot have an address of the stack itself", () => {
  const lab = new NatLab();
  const nat = new Nat({ addresses: [ip("203.0.113.1")], random: (out) => out.fill(1) });
  assert.throws(() => lab.stack.setNat(lab.inside, nat), {
    name: "RangeError",
    message: "203.0.113.1 is the stack's own, and cannot be a NAT's too",
  });
  assert.equal(lab.inside.nat, lab.nat);
});

Deno.test("a NAT that is taken away takes its routes along, and no other", () => {
  const lab = new NatLab();
  lab.stack.setNat(lab.inside, undefined);
  assert.equal(ends(lab.out(udp(A, 5000, X, 53, DATA))[0]!), `${A}:5000 > ${X}:53`);
  assert.equal(lab.stack.routes.lookupAddress(ip(EXTERNAL)), lab.outside);
  // With an address that was routed there before, as a phone's own.
  lab.stack.routes.insert(prefix(`${A}/32`), lab.inside);
  const own = new Nat({ addresses: [ip(A)], random: (out) => out.fill(1) });
  lab.stack.setNat(lab.inside, own);
  lab.stack.setNat(lab.inside, undefined);
  assert.equal(lab.stack.routes.get(prefix(`${A}/32`)), lab.inside);
  lab.stack.setNat(lab.inside, own);
  lab.stack.removeNic(lab.inside);
  assert.equal(lab.stack.routes.get(prefix(`${A}/32`)), undefined);
});

Deno.test("settings out of range are refused by name", () => {
  for (
    const [options, message] of [
      [{ ports: { first: 0, last: 9 } }, "a NAT's ports are 1 to 65535, got 0"],
      [{ ports: { first: 9, last: 70_000 } }, "a NAT's ports are 1 to 65535, got 70000"],
      [{ ports: { first: 9, last: 8 } }, "a NAT's ports are from 9 to 8: none"],
      [{ maxSessions: 0 }, "a NAT has 1 session or more, got 0"],
      [{ udpMs: Infinity }, /^a NAT's time for UDP is 120000 ms or more/],
    ] as const
  ) assert.throws(() => new NatLab(options), { name: "RangeError", message });
});
