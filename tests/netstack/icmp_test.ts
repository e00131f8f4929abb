import assert from "node:assert/strict";
import { type IcmpErrorKind, Stack } from "../../netstack/mod.ts";
import {
  concat,
  Host,
  ICMP,
  icmp,
  icmpMessage,
  ICMPV6,
  ip,
  packet,
  type Parsed,
  tcpSyn,
  UDP,
  udp,
  uint16,
  uint32,
} from "./packets.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5);
const ZERO = uint32(0);

/** Every error about `original` that came back: type, code, what stands in the last four bytes. */
function error(answers: Parsed[]): { type: number; code: number; rest: number; quote: Uint8Array } {
  assert.equal(answers.length, 1);
  const { payload, protocol } = answers[0]!;
  assert.ok(protocol === ICMP || protocol === ICMPV6);
  const rest = new DataView(payload.buffer, payload.byteOffset).getUint32(4);
  return { type: payload[0]!, code: payload[1]!, rest, quote: payload.slice(8) };
}

Deno.test("a ping of an own address is answered from that address, v4 and v6", () => {
  const host = new Host();
  const rest = concat(uint16(77), uint16(3), DATA);
  const [v4] = host.receive(icmp("10.9.0.2", "10.9.0.1", 8, 0, rest));
  assert.equal(v4!.source, "10.9.0.1");
  assert.equal(v4!.destination, "10.9.0.2");
  assert.equal(v4!.hopLimit, 64);
  assert.deepEqual(v4!.payload, icmpMessage("10.9.0.1", "10.9.0.2", 0, 0, rest));
  const [v6] = host.receive(icmp("fd09::2", "fd09::1", 128, 0, rest));
  assert.equal(v6!.source, "fd09::1");
  assert.deepEqual(v6!.payload, icmpMessage("fd09::1", "fd09::2", 129, 0, rest));
  assert.equal(host.stack.counters.icmp.echoReplies, 2);
});

Deno.test("IPv4 options: a ping that carries them is answered without; malformed ones are dropped", () => {
  const host = new Host();
  const ping = (options: Uint8Array) =>
    host.receive(icmp("10.9.0.2", "10.9.0.1", 8, 0, concat(ZERO, DATA), { options }));
  const recordRoute = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0);
  const [answer] = ping(recordRoute);
  assert.equal(answer!.bytes.length, 20 + 8 + DATA.length);
  assert.equal(ping(Uint8Array.of(1, 1, 1, 0)).length, 1);
  assert.equal(ping(Uint8Array.of(68, 0, 0, 0)).length, 0); // length 0: an endless loop elsewhere
  assert.equal(ping(Uint8Array.of(68, 1, 0, 0)).length, 0);
  assert.equal(ping(Uint8Array.of(1, 1, 1, 68)).length, 0);
  assert.equal(ping(Uint8Array.of(68, 5, 0, 0)).length, 0);
  assert.equal(host.stack.counters.ip.badOptions, 4);
  assert.equal(ping(Uint8Array.of(131, 3, 4, 0)).length, 0);
  assert.equal(ping(Uint8Array.of(137, 3, 4, 0)).length, 0);
  assert.equal(host.stack.counters.ip.sourceRouted, 2);
});

Deno.test("a short ICMP header is dropped, at every length", () => {
  const host = new Host();
  for (let length = 0; length < 8; length++) {
    const v4 = icmpMessage("10.9.0.2", "10.9.0.1", 8, 0, ZERO).slice(0, length);
    const v6 = icmpMessage("fd09::2", "fd09::1", 128, 0, ZERO).slice(0, length);
    host.receive(
      packet({ source: "10.9.0.2", destination: "10.9.0.1", protocol: ICMP, payload: v4 }),
    );
    host.receive(
      packet({ source: "fd09::2", destination: "fd09::1", protocol: ICMPV6, payload: v6 }),
    );
  }
  assert.equal(host.stack.counters.icmp.malformed, 16);
  assert.equal(host.sent.length, 0);
});

Deno.test("a wrong ICMP checksum is dropped", () => {
  const host = new Host();
  for (
    const bytes of [
      icmp("10.9.0.2", "10.9.0.1", 8, 0, concat(ZERO, DATA)),
      icmp("fd09::2", "fd09::1", 128, 0, concat(ZERO, DATA)),
    ]
  ) {
    bytes[bytes.length - 1]! ^= 1;
    assert.equal(host.receive(bytes).length, 0);
  }
  assert.equal(host.stack.counters.icmp.badChecksum, 2);
});

Deno.test("a ping of the largest size comes back whole, in fragments", () => {
  const host = new Host();
  const rest = host.sim.random.bytes(65_535 - 20 - 4);
  const message = icmpMessage("10.9.0.2", "10.9.0.1", 8, 0, rest);
  const fragments: Uint8Array[] = [];
  for (let start = 0; start < message.length; start += 1400) {
    const more = start + 1400 < message.length;
    fragments.push(packet({
      source: "10.9.0.2",
      destination: "10.9.0.1",
      protocol: ICMP,
      identification: 9,
      fragment: start / 8 | (more ? 0x2000 : 0),
      payload: message.slice(start, start + 1400),
    }));
  }
  const answers = host.receive(...fragments);
  assert.ok(answers.length > 40);
  assert.ok(answers.every(({ bytes }) => bytes.length <= 1420));
  assert.equal(new Set(answers.map(({ identification }) => identification)).size, 1);
  const whole = concat(...answers.map(({ payload }) => payload));
  assert.deepEqual(whole, icmpMessage("10.9.0.1", "10.9.0.2", 0, 0, rest));
});

Deno.test("a flood of pings between two flushes is answered as far as the queue goes", () => {
  const host = new Host();
  const ping = icmp("10.9.0.2", "10.9.0.1", 8, 0, host.sim.random.bytes(1004));
  for (let i = 0; i < 2000; i++) {
    host.stack.handlePacket(host.nic, ping.slice(), 0, ping.length, host.sim.now);
  }
  host.sim.runFor(1);
  assert.ok(host.sent.length > 400 && host.sent.length < 600, `${host.sent.length}`);
  assert.equal(host.sent.length + host.stack.counters.ip.noBuffer, 2000);
  host.take();
  assert.equal(host.receive(ping).length, 1);
});

Deno.test("a ping of a proxied address is not answered by the gateway", () => {
  const host = new Host();
  host.addProxyNic("10.50.0.0/16", "fd50::/64");
  assert.equal(host.receive(icmp("10.9.0.2", "10.50.0.1", 8, 0, ZERO)).length, 0);
  assert.equal(host.receive(icmp("fd09::2", "fd50::1", 128, 0, ZERO)).length, 0);
  assert.equal(host.stack.counters.icmp.echoIgnored, 2);
});

Deno.test("a closed UDP port is reported from the datagram's destination, quoting the datagram", () => {
  const host = new Host();
  const v4 = udp("10.9.0.2", 1000, "10.9.0.1", 9, DATA);
  let answers = host.receive(v4);
  assert.equal(answers[0]!.source, "10.9.0.1");
  assert.deepEqual(error(answers), { type: 3, code: 3, rest: 0, quote: v4 });
  const v6 = udp("fd09::2", 1000, "fd09::1", 9, DATA);
  answers = host.receive(v6);
  assert.equal(answers[0]!.source, "fd09::1");
  assert.deepEqual(error(answers), { type: 1, code: 4, rest: 0, quote: v6 });
  assert.equal(host.stack.counters.udp.portUnreachable, 2);
});

Deno.test("errors quote as much as fits into 576 bytes, IPv6 into 1280", () => {
  const host = new Host();
  const v4 = udp("10.9.0.2", 1000, "10.9.0.1", 9, new Uint8Array(1300));
  const [four] = host.receive(v4);
  assert.equal(four!.bytes.length, 576);
  assert.deepEqual(four!.payload.slice(8), v4.slice(0, 548));
  const v6 = udp("fd09::2", 1000, "fd09::1", 9, new Uint8Array(1300));
  const [six] = host.receive(v6);
  assert.equal(six!.bytes.length, 1280);
  assert.deepEqual(six!.payload.slice(8), v6.slice(0, 1232));
});

Deno.test("a transport nobody speaks is reported, IPv6 with the place of its number", () => {
  const host = new Host();
  const v4 = packet({ source: "10.9.0.2", destination: "10.9.0.1", protocol: 132, payload: DATA });
  const four = error(host.receive(v4));
  assert.deepEqual([four.type, four.code], [3, 2]);
  const v6 = packet({ source: "fd09::2", destination: "fd09::1", protocol: 132, payload: DATA });
  const six = error(host.receive(v6));
  assert.deepEqual([six.type, six.code, six.rest], [4, 1, 6]);
  const behind = packet({
    source: "fd09::2",
    destination: "fd09::1",
    protocol: 60,
    payload: concat(Uint8Array.of(132, 0, 1, 4, 0, 0, 0, 0), DATA),
  });
  const seven = error(host.receive(behind));
  assert.deepEqual([seven.type, seven.code, seven.rest], [4, 1, 40]);
});

Deno.test("no error is ever sent about an error, a later fragment, or a packet not from one host to one", () => {
  const host = new Host();
  host.addProxyNic("10.50.0.0/16");
  const original = udp("10.9.0.1", 1, "192.0.2.1", 2, DATA);
  const unreachable = concat(ZERO, original);
  const silent = [
    // No route to 192.0.2.1.
    icmp("10.9.0.2", "192.0.2.1", 3, 1, unreachable),
    icmp("10.9.0.2", "192.0.2.1", 11, 0, unreachable),
    icmp("10.9.0.2", "192.0.2.1", 5, 0, unreachable),
    icmp("10.9.0.2", "192.0.2.1", 200, 0, unreachable),
    icmp("fd09::2", "2001:db8::1", 1, 0, concat(ZERO, udp("fd09::1", 1, "fd09::2", 2, DATA))),
    icmp("fd09::2", "2001:db8::1", 137, 0, ZERO),
    udp("10.9.0.2", 1, "192.0.2.1", 2, DATA, { fragment: 4 }),
    packet({
      source: "fd09::2",
      destination: "2001:db8::1",
      protocol: 44,
      payload: concat(Uint8Array.of(UDP, 0), uint16(8), ZERO, DATA),
    }),
    udp("10.9.0.2", 1, "224.0.0.1", 2, DATA),
    udp("10.9.0.2", 1, "255.255.255.255", 2, DATA),
    udp("10.9.0.2", 1, "10.9.0.255", 2, DATA),
    udp("fd09::2", 1, "ff02::1", 2, DATA),
    udp("0.0.0.0", 1, "192.0.2.1", 2, DATA),
    udp("127.0.0.1", 1, "192.0.2.1", 2, DATA),
    udp("224.0.0.1", 1, "192.0.2.1", 2, DATA),
    udp("::", 1, "2001:db8::1", 2, DATA),
    udp("ff02::1", 1, "2001:db8::1", 2, DATA),
    udp("10.9.0.1", 1, "192.0.2.1", 2, DATA), // our own address as the source
  ];
  for (const bytes of silent) assert.deepEqual(host.receive(bytes), []);
  // And the same as a question, from one host to one host, is answered.
  assert.equal(host.receive(icmp("10.9.0.2", "192.0.2.1", 8, 0, ZERO)).length, 1);
  assert.equal(host.receive(icmp("fd09::2", "2001:db8::1", 128, 0, ZERO)).length, 1);
  assert.equal(
    host.receive(udp("10.9.0.2", 1, "192.0.2.1", 2, DATA, { fragment: 0x2000 })).length,
    1,
  );
});

Deno.test("errors about what comes in by one NIC are rate limited, about another's are not", () => {
  const host = new Host();
  const other = host.stack.addNic({
    name: "other",
    mtu: 1420,
    link: host.sim.link().a,
    addresses: [{ address: ip("10.8.0.1"), length: 24 }],
  });
  const lost = udp("10.9.0.2", 1, "192.0.2.1", 2, DATA);
  let answers = 0;
  for (let i = 0; i < 1000; i++) answers += host.receive(lost).length;
  assert.ok(answers >= 30 && answers <= 150, `${answers} answers at once`);
  assert.equal(host.stack.counters.icmp.errorsRateLimited, 1000 - answers);
  const before = host.stack.counters.icmp.errorsSent;
  const elsewhere = udp("10.8.0.2", 1, "192.0.2.1", 2, DATA);
  host.stack.handlePacket(other, elsewhere, 0, elsewhere.length, host.sim.now);
  assert.equal(host.stack.counters.icmp.errorsSent, before + 1);
  // A second later the bucket is full again, and no more than that.
  host.sim.runFor(1000);
  let later = 0;
  for (let i = 0; i < 1000; i++) later += host.receive(lost).length;
  assert.ok(later >= 30 && later <= 150, `${later} answers a second later`);
});

Deno.test("an unreachable target is reported from the packet's destination where the gateway has no address", () => {
  const host = new Host({ network: ["10.9.0.1/24"] });
  const bytes = udp("fd09::2", 1, "2001:db8::1", 2, DATA);
  const answers = host.receive(bytes);
  assert.equal(answers[0]!.source, "2001:db8::1");
  assert.equal(error(answers).type, 1);
  // But nobody pretends to be a router on the way.
  host.addProxyNic("fd50::/64");
  assert.deepEqual(host.receive(udp("fd09::2", 1, "fd50::1", 2, DATA, { hopLimit: 1 })), []);
});

Deno.test("a datagram whose fragments do not all come is reported when its time is up", () => {
  const host = new Host();
  const payload = new Uint8Array(64);
  const v4 = packet({
    source: "10.9.0.2",
    destination: "10.9.0.1",
    protocol: UDP,
    fragment: 0x2000,
    identification: 5,
    payload,
  });
  const v6 = packet({
    source: "fd09::2",
    destination: "fd09::1",
    protocol: 44,
    payload: concat(Uint8Array.of(UDP, 0), uint16(1), uint32(5), payload),
  });
  assert.deepEqual(host.receive(v4, v6), []);
  host.sim.runFor(30_000);
  assert.deepEqual(error(host.take()), { type: 11, code: 1, rest: 0, quote: v4 });
  host.sim.runFor(30_000);
  assert.deepEqual(error(host.take()), { type: 3, code: 1, rest: 0, quote: v6 });
  assert.deepEqual(Object.values(host.stack.resources()).filter((count) => count !== 0), []);
});

Deno.test("reassembly against close: a stack whose NIC is gone expires nothing and sends nothing", () => {
  const host = new Host();
  host.receive(
    udp("10.9.0.2", 1, "10.9.0.1", 2, DATA, { fragment: 0x2000, payload: new Uint8Array(64) }),
  );
  assert.equal(host.stack.resources().reassemblies, 1);
  host.stack.removeNic(host.nic);
  assert.equal(host.stack.resources().reassemblies, 0);
  assert.equal(host.stack.pollTimeout(), Infinity);
  host.sim.runFor(120_000);
  assert.deepEqual(host.take(), []);
});

Deno.test("an ICMP error reaches the UDP endpoint whose datagram it quotes, and no other", () => {
  const host = new Host();
  const kinds: IcmpErrorKind[] = [];
  const handler = { datagram: () => {}, error: (kind: IcmpErrorKind) => kinds.push(kind) };
  host.stack.bindUdp({ port: 5000 }).handler = handler;
  const report = (type: number, code: number, port: number, destination = "10.9.0.1") =>
    host.receive(
      icmp(
        "10.9.0.2",
        destination,
        type,
        code,
        concat(ZERO, udp("10.9.0.1", port, "10.9.0.2", 9, DATA)),
      ),
    );
  const report6 = (type: number, code: number) =>
    host.receive(
      icmp(
        "fd09::2",
        "fd09::1",
        type,
        code,
        concat(ZERO, udp("fd09::1", 5000, "fd09::2", 9, DATA)),
      ),
    );
  const v4: [number, number][] = [[3, 0], [3, 1], [3, 2], [3, 3], [3, 4], [3, 13], [11, 0], [
    12,
    0,
  ]];
  for (const [type, code] of v4) report(type, code, 5000);
  const v6: [number, number][] = [[1, 0], [1, 1], [1, 3], [1, 4], [2, 0], [3, 0], [4, 0], [4, 1]];
  for (const [type, code] of v6) report6(type, code);
  assert.deepEqual(kinds.splice(0), [
    "net-unreachable",
    "host-unreachable",
    "protocol-unreachable",
    "port-unreachable",
    "too-big",
    "prohibited",
    "time-exceeded",
    "parameter-problem",
    "net-unreachable",
    "prohibited",
    "host-unreachable",
    "port-unreachable",
    "too-big",
    "time-exceeded",
    "parameter-problem",
    "protocol-unreachable",
  ]);
  report(3, 3, 5001);
  // What it quotes must have been sent from the address it goes to.
  host.receive(
    icmp("10.9.0.2", "10.9.0.1", 3, 3, concat(ZERO, udp("10.9.0.7", 5000, "10.9.0.2", 9, DATA))),
  );
  report(4, 0, 5000); // source quench
  assert.deepEqual(kinds, []);
});

Deno.test("an ICMP error that quotes too little is ignored, at every length", () => {
  const host = new Host();
  host.stack.bindUdp({ port: 5000 }).handler = {
    datagram: () => {},
    error: () => assert.fail("should be ignored"),
  };
  const v4 = udp("10.9.0.1", 5000, "10.9.0.2", 9, new Uint8Array(0));
  for (let length = 0; length < 28; length++) {
    host.receive(icmp("10.9.0.2", "10.9.0.1", 3, 3, concat(ZERO, v4.slice(0, length))));
  }
  const v6 = udp("fd09::1", 5000, "fd09::2", 9, new Uint8Array(0));
  for (let length = 0; length < 48; length++) {
    host.receive(icmp("fd09::2", "fd09::1", 1, 4, concat(ZERO, v6.slice(0, length))));
  }
  assert.equal(host.stack.counters.icmp.errorsIgnored, 76);
});

Deno.test("Too Big about a TCP segment is handed to TCP with its MTU", () => {
  const host = new Host();
  const seen: unknown[] = [];
  const { tcp } = host.stack;
  const original = tcp.handleIcmpError;
  tcp.handleIcmpError = (kind, mtu, version) => seen.push([kind, mtu, version]);
  const v4 = tcpSyn("10.9.0.1", 1, "10.9.0.2", 2);
  host.receive(icmp("10.9.0.2", "10.9.0.1", 3, 4, concat(uint16(0), uint16(1300), v4)));
  const v6 = tcpSyn("fd09::1", 1, "fd09::2", 2);
  host.receive(icmp("fd09::2", "fd09::1", 2, 0, concat(uint32(1290), v6)));
  tcp.handleIcmpError = original;
  assert.deepEqual(seen, [["too-big", 1300, 4], ["too-big", 1290, 6]]);
});

Deno.test("a hop limit out of range is refused", () => {
  assert.throws(() => new Stack({ random: () => {}, hopLimit: 0 }), RangeError);
  assert.throws(() => new Stack({ random: () => {}, hopLimit: 256 }), RangeError);
});
