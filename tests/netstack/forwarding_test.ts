import assert from "node:assert/strict";
import type { Nic } from "../../netstack/mod.ts";
import {
  addNic,
  concat,
  Host,
  icmp,
  ip,
  packet,
  parse,
  type Parsed,
  prefix,
  tcpSyn,
  UDP,
  udp,
  uint16,
  uint32,
} from "./packets.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5);
const ZERO = uint32(0);

/** A second NIC with a way out, and what left by it. */
function addOther(host: Host, mtu: number, forwarding: boolean): { nic: Nic; out: Parsed[] } {
  const link = host.sim.link({ mtu });
  const out: Parsed[] = [];
  link.b.receive = (buffer, offset, length) =>
    out.push(parse(buffer.slice(offset, offset + length)));
  const network = ["10.7.0.1/24", "fd07::1/64"];
  return { nic: addNic(host.stack, link.a, { name: "other", forwarding }, network), out };
}

/** A gateway with a UDP forwarder that notes what it is asked for. */
function gateway(): { host: Host; asked: string[] } {
  const host = new Host();
  const asked: string[] = [];
  const nic = host.addProxyNic("10.50.0.0/16", "fd50::/64");
  host.stack.setUdpForwarder(nic, {
    datagram: (_flow, destination) => {
      asked.push(String(destination));
      return "accept";
    },
  });
  host.stack.tcp.setForwarder(nic, {
    request: (request) => {
      asked.push(`tcp ${request.target}`);
      request.reject("reset");
    },
  });
  return { host, asked };
}

Deno.test("an address outside of the routes never reaches NIC 2: no route is reported", () => {
  const { host, asked } = gateway();
  const outside: [Uint8Array, number, number][] = [
    [udp("10.9.0.2", 1, "10.51.0.0", 2, DATA), 3, 0],
    [udp("10.9.0.2", 1, "10.49.255.255", 2, DATA), 3, 0],
    [udp("fd09::2", 1, "fd50:0:0:1::", 2, DATA), 1, 0],
    [tcpSyn("10.9.0.2", 1, "192.0.2.1", 2), 3, 0],
    [tcpSyn("fd09::2", 1, "2001:db8::1", 2), 1, 0],
    [icmp("10.9.0.2", "192.0.2.1", 8, 0, ZERO), 3, 0],
    // The client's own network is behind NIC 1 itself, which forwards nothing.
    [udp("10.9.0.2", 1, "10.9.0.3", 2, DATA), 3, 0],
  ];
  for (const [bytes, type, code] of outside) {
    const answers = host.receive(bytes);
    assert.equal(answers.length, 1);
    assert.deepEqual([...answers[0]!.payload.slice(0, 2)], [type, code]);
    assert.equal(answers[0]!.source, answers[0]!.version === 4 ? "10.9.0.1" : "fd09::1");
  }
  assert.deepEqual(asked, []);
  host.receive(udp("10.9.0.2", 1, "10.50.0.0", 2, DATA), udp("fd09::2", 1, "fd50::ffff", 2, DATA));
  host.receive(tcpSyn("10.9.0.2", 1, "10.50.255.255", 2));
  assert.deepEqual(asked, ["10.50.0.0", "fd50::ffff", "tcp 10.50.255.255"]);
});

Deno.test("traceroute shows the gateway as the first hop, with UDP, ICMP and TCP probes", () => {
  const { host, asked } = gateway();
  const probes: [Uint8Array, number][] = [
    [udp("10.9.0.2", 1, "10.50.0.1", 33_434, DATA, { hopLimit: 1 }), 11],
    [icmp("10.9.0.2", "10.50.0.1", 8, 0, ZERO, { hopLimit: 1 }), 11],
    [tcpSyn("10.9.0.2", 1, "10.50.0.1", 80, { hopLimit: 1 }), 11],
    [tcpSyn("10.9.0.2", 1, "10.50.0.1", 80, { hopLimit: 0 }), 11],
    [udp("fd09::2", 1, "fd50::1", 33_434, DATA, { hopLimit: 1 }), 3],
    [icmp("fd09::2", "fd50::1", 128, 0, ZERO, { hopLimit: 1 }), 3],
    [tcpSyn("fd09::2", 1, "fd50::1", 80, { hopLimit: 1 }), 3],
  ];
  for (const [probe, type] of probes) {
    const [answer] = host.receive(probe);
    assert.deepEqual([...answer!.payload.slice(0, 2)], [type, 0]);
    assert.equal(answer!.source, answer!.version === 4 ? "10.9.0.1" : "fd09::1");
    assert.deepEqual(answer!.payload.slice(8), probe);
  }
  assert.deepEqual(asked, []);
  // With one more hop to go they arrive; an own address is reached with any.
  host.receive(udp("10.9.0.2", 1, "10.50.0.1", 33_434, DATA, { hopLimit: 2 }));
  assert.deepEqual(asked, ["10.50.0.1"]);
  assert.equal(
    host.receive(icmp("10.9.0.2", "10.9.0.1", 8, 0, ZERO, { hopLimit: 1 }))[0]!.payload[0],
    0,
  );
});

Deno.test("a hop limit ends at an interface without addresses too: another's address says so", () => {
  const host = new Host();
  addOther(host, 1420, true);
  const link = host.sim.link({ mtu: 1420 });
  const out: Parsed[] = [];
  link.b.receive = (buffer, offset, length) =>
    out.push(parse(buffer.slice(offset, offset + length)));
  const nic = addNic(host.stack, link.a, { name: "bare", forwarding: true }, []);
  for (const network of ["10.8.0.0/24", "fd08::/64"]) {
    host.stack.routes.insert(prefix(network), nic);
  }
  const probes = [
    udp("10.8.0.2", 1, "10.7.0.9", 2, DATA, { hopLimit: 1 }),
    udp("fd08::2", 1, "fd07::9", 2, DATA, { hopLimit: 1 }),
  ];
  for (const bytes of probes) {
    host.stack.handlePacket(nic, bytes, 0, bytes.length, host.sim.now);
    host.sim.runFor(0);
  }
  assert.deepEqual(out.map(({ source, payload }) => [source, payload[0]]), [
    ["10.9.0.1", 11],
    ["fd09::1", 3],
  ]);
});

Deno.test("a forwarded packet leaves by the other NIC as it came, one hop less", () => {
  const host = new Host();
  const { out } = addOther(host, 1420, true);
  assert.deepEqual(host.receive(udp("10.9.0.2", 1, "10.7.0.9", 2, DATA, { hopLimit: 9 })), []);
  host.receive(udp("fd09::2", 1, "fd07::9", 2, DATA, { hopLimit: 9 }));
  assert.deepEqual(out[0]!.bytes, udp("10.9.0.2", 1, "10.7.0.9", 2, DATA, { hopLimit: 8 }));
  assert.deepEqual(out[1]!.bytes, udp("fd09::2", 1, "fd07::9", 2, DATA, { hopLimit: 8 }));
  assert.equal(host.stack.counters.ip.forwarded, 2);
});

Deno.test("a NIC that does not forward lets nothing through", () => {
  const host = new Host();
  const { out } = addOther(host, 1420, false);
  const [answer] = host.receive(udp("10.9.0.2", 1, "10.7.0.9", 2, DATA));
  assert.equal(answer!.payload[0], 3);
  assert.equal(out.length, 0);
});

Deno.test("a hub sends a peer's packet for another peer back out of the NIC it came in by", () => {
  const host = new Host({ forwarding: true });
  const [back] = host.receive(udp("10.9.0.2", 1, "10.9.0.3", 2, DATA, { hopLimit: 5 }));
  assert.deepEqual(back!.bytes, udp("10.9.0.2", 1, "10.9.0.3", 2, DATA, { hopLimit: 4 }));
});

Deno.test("with a device of its own behind it a NIC sends there what no route leads elsewhere", () => {
  const host = new Host({ forwarding: true });
  const { nic, out } = addOther(host, 1420, true);
  host.nic.uplink = nic;
  host.nic.forwardsBack = false;
  const probe = (to: string) => host.receive(udp("10.9.0.2", 1, to, 2, DATA));
  // To another peer, which they are not to reach by us; and to nobody's.
  assert.deepEqual([probe("10.9.0.3"), probe("192.0.2.1")], [[], []]);
  assert.deepEqual(out.map(({ destination }) => destination), ["10.9.0.3", "192.0.2.1"]);
  host.nic.forwardsBack = true;
  assert.equal(probe("10.9.0.3")[0]!.destination, "10.9.0.3");
  // The other way only routes count.
  host.stack.handlePacket(nic, udp("10.7.0.9", 1, "10.9.0.3", 2, DATA), 0, 33, 0);
  host.stack.handlePacket(nic, udp("10.7.0.9", 1, "192.0.2.1", 2, DATA), 0, 33, 0);
  assert.equal(host.stack.counters.ip.noRoute, 1);
});

Deno.test("a packet that the next link has nobody for is reported: host unreachable", () => {
  const host = new Host();
  const { nic } = addOther(host, 1420, true);
  nic.link.forward = () => false;
  const [four] = host.receive(udp("10.9.0.2", 1, "10.7.0.9", 2, DATA));
  const [six] = host.receive(udp("fd09::2", 1, "fd07::9", 2, DATA));
  assert.deepEqual([...four!.payload.subarray(0, 2)], [3, 1]);
  assert.equal(four!.source, "10.9.0.1");
  assert.deepEqual([...six!.payload.subarray(0, 2)], [1, 3]);
  assert.equal(six!.source, "fd09::1");
});

Deno.test("too big for the next link: reported with its MTU, or fragmented if IPv4 allows", () => {
  const host = new Host();
  const { out } = addOther(host, 1280, true);
  const data = host.sim.random.bytes(1350);
  const [v4] = host.receive(udp("10.9.0.2", 1, "10.7.0.9", 2, data, { fragment: 0x4000 }));
  assert.deepEqual([...v4!.payload.slice(0, 8)].toSpliced(2, 2), [
    3,
    4,
    0,
    0,
    1280 >> 8,
    1280 & 255,
  ]);
  const [v6] = host.receive(udp("fd09::2", 1, "fd07::9", 2, data));
  assert.deepEqual([...v6!.payload.slice(0, 8)].toSpliced(2, 2), [
    2,
    0,
    0,
    0,
    1280 >> 8,
    1280 & 255,
  ]);
  assert.equal(host.stack.counters.ip.tooBig, 2);
  assert.equal(out.length, 0);
  const whole = udp("10.9.0.2", 1, "10.7.0.9", 2, data, { identification: 77, hopLimit: 9 });
  assert.deepEqual(host.receive(whole), []);
  assert.equal(out.length, 2);
  assert.ok(out.every((each) => each.identification === 77 && each.hopLimit === 8));
  assert.deepEqual(out.map((each) => each.fragment), [0x2000, 1256 / 8]);
  assert.deepEqual(concat(...out.map((each) => each.payload)), whole.slice(20));
});

Deno.test("fragments of a fragment keep its place, and only the options that go into each", () => {
  const host = new Host();
  const { out } = addOther(host, 1280, true);
  const security = Uint8Array.of(130, 4, 9, 9); // copied
  const timestamp = Uint8Array.of(68, 4, 5, 0); // not copied
  const data = host.sim.random.bytes(1304);
  host.receive(packet({
    source: "10.9.0.2",
    destination: "10.7.0.9",
    protocol: UDP,
    options: concat(timestamp, Uint8Array.of(1, 1), security, Uint8Array.of(0, 0)),
    fragment: 0x2000 | 100,
    payload: data,
  }));
  assert.deepEqual(out.map((each) => each.fragment), [0x2000 | 100, 0x2000 | 100 + 1248 / 8]);
  assert.deepEqual(concat(...out.map((each) => each.payload)), data);
  assert.equal((out[0]!.bytes[0]! & 15) * 4, 32);
  assert.equal((out[1]!.bytes[0]! & 15) * 4, 24);
  assert.deepEqual(out[1]!.bytes.slice(20, 24), security);
});

Deno.test("fragments for a proxied address are put together there, fragments for another NIC are not", () => {
  const host = new Host();
  const { out } = addOther(host, 1420, true);
  const sizes: number[] = [];
  host.stack.setUdpForwarder(host.addProxyNic("10.50.0.0/16"), {
    datagram: (_flow, _destination, _port, _buffer, _offset, length) => {
      sizes.push(length);
      return "accept";
    },
  });
  const datagram = udp("10.9.0.2", 1, "10.50.0.1", 2, new Uint8Array(2000)).slice(20);
  const piece = (destination: string, start: number, end: number) =>
    packet({
      source: "10.9.0.2",
      destination,
      protocol: UDP,
      fragment: start / 8 | (end < datagram.length ? 0x2000 : 0),
      payload: datagram.slice(start, end),
    });
  host.receive(piece("10.50.0.1", 1000, 2008), piece("10.50.0.1", 0, 1000));
  assert.deepEqual(sizes, [2000]);
  host.receive(piece("10.7.0.9", 1000, 2008), piece("10.7.0.9", 0, 1000));
  assert.equal(out.length, 2);
  assert.equal(host.stack.resources().reassemblies, 0);
});

Deno.test("single-interface mode: a promiscuous NIC delivers everybody's packets, also the last hop's", () => {
  const host = new Host({ promiscuous: true, spoofing: true });
  const asked: string[] = [];
  host.stack.setUdpForwarder(host.nic, {
    datagram: (flow, destination, port, buffer, offset, length, now) => {
      asked.push(String(destination));
      flow.send(destination, port, buffer, offset, length, now);
      return "accept";
    },
  });
  const [answer] = host.receive(udp("10.9.0.2", 1, "192.0.2.1", 2, DATA, { hopLimit: 1 }));
  assert.equal(answer!.source, "192.0.2.1");
  assert.deepEqual(asked, ["192.0.2.1"]);
  // An own address stays the stack's own.
  assert.equal(host.receive(udp("10.9.0.2", 1, "10.9.0.1", 2, DATA))[0]!.payload[0], 3);
  assert.deepEqual(asked, ["192.0.2.1"]);
});

Deno.test("IPv6 extension headers are skipped, and refused when they are too many or malformed", () => {
  const host = new Host();
  const heard: number[] = [];
  host.stack.bindUdp({ port: 2 }).handler = {
    datagram: (_endpoint, _source, _port, _buffer, _offset, length) => heard.push(length),
  };
  const datagram = udp("fd09::2", 1, "fd09::1", 2, DATA).slice(40);
  const pad = Uint8Array.of(1, 4, 0, 0, 0, 0);
  const chain = (...headers: [number, Uint8Array][]) => {
    const types = [...headers.map(([type]) => type), UDP];
    const parts = headers.map(([, rest], i) => concat(Uint8Array.of(types[i + 1]!), rest));
    return packet({
      source: "fd09::2",
      destination: "fd09::1",
      protocol: types[0]!,
      payload: concat(...parts, datagram),
    });
  };
  const options = (...bytes: number[]) =>
    concat(Uint8Array.of(bytes.length > 6 ? 1 : 0), Uint8Array.from(bytes));
  const plain = options(...pad);
  const routing = (segmentsLeft: number) => Uint8Array.of(0, 0, segmentsLeft, 0, 0, 0, 0);
  host.receive(chain([0, plain], [60, plain], [43, routing(0)], [60, plain]));
  assert.deepEqual(heard.splice(0), [5]);
  host.receive(chain([60, options(0x1e, 4, 0, 0, 0, 0)])); // unknown, to be skipped
  assert.deepEqual(heard.splice(0), [5]);
  host.receive(chain([44, Uint8Array.of(0, 0, 0, 0, 0, 0, 9)])); // RFC 6946: an atomic fragment
  assert.deepEqual(heard.splice(0), [5]);

  const problem = (bytes: Uint8Array) => {
    const [answer] = host.receive(bytes);
    if (answer === undefined) return "silence";
    const view = new DataView(answer.payload.buffer, answer.payload.byteOffset);
    return [view.getUint8(0), view.getUint8(1), view.getUint32(4)];
  };
  assert.deepEqual(problem(chain([43, routing(1)])), [4, 0, 42]);
  assert.deepEqual(problem(chain([60, options(0x9e, 4, 0, 0, 0, 0)])), [4, 2, 42]);
  assert.deepEqual(problem(chain([60, options(0, 0xde, 3, 0, 0, 0)])), [4, 2, 43]);
  assert.equal(problem(chain([60, options(0x5e, 4, 0, 0, 0, 0)])), "silence");
  assert.equal(problem(chain([60, options(1, 9, 0, 0, 0, 0)])), "silence"); // past its header
  assert.equal(problem(chain([60, options(0, 0, 0, 0, 0, 1)])), "silence"); // no length
  assert.equal(problem(chain([60, concat(Uint8Array.of(200), pad)])), "silence"); // past the packet
  assert.equal(problem(chain(...Array(20).fill([60, plain]))), "silence");
  // Hop-by-hop options anywhere else are a header nobody knows (RFC 8200 §4).
  assert.deepEqual(problem(chain([60, plain], [0, plain])), [4, 1, 40]);
  const none = packet({ source: "fd09::2", destination: "fd09::1", protocol: 59, payload: DATA });
  assert.equal(problem(none), "silence");
  const empty = packet({
    source: "fd09::2",
    destination: "fd09::1",
    protocol: 60,
    payload: new Uint8Array(0),
  });
  assert.equal(problem(empty), "silence");
  assert.deepEqual(heard, []);
});

Deno.test("headers that do not fit their packet are dropped, each with its reason", () => {
  const host = new Host();
  const good = udp("10.9.0.2", 1, "10.9.0.1", 2, DATA);
  const changed = (at: number, value: number, checksum = true) => {
    const bytes = good.slice();
    bytes[at] = value;
    if (checksum) {
      bytes.set(uint16(0), 10);
      let sum = 0;
      for (let i = 0; i < 20; i += 2) sum += bytes[i]! << 8 | bytes[i + 1]!;
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      bytes.set(uint16(0xffff - sum), 10);
    }
    return bytes;
  };
  const malformed = [
    new Uint8Array(0),
    Uint8Array.of(0x45),
    good.slice(0, 19),
    good.slice(0, -1), // total length past the packet
    changed(0, 0x44), // header below 20 bytes
    changed(0, 0x4f), // header past the packet
    changed(3, 19), // total length below the header
    changed(0, 0x55),
    udp("fd09::2", 1, "fd09::1", 2, DATA).slice(0, 39),
    udp("fd09::2", 1, "fd09::1", 2, DATA).slice(0, -1),
  ];
  for (const bytes of malformed) assert.deepEqual(host.receive(bytes), []);
  const { ip } = host.stack.counters;
  assert.equal(ip.malformed, malformed.length);
  assert.deepEqual(host.receive(changed(8, 63, false)), []);
  assert.equal(ip.badChecksum, 1);
  // Padding behind the packet, as of a WireGuard message, is no part of it.
  const [answer] = host.receive(concat(good, new Uint8Array(16)));
  assert.deepEqual(answer!.payload.slice(8), good);
});

Deno.test("an own address is reached by any interface, and one without addresses borrows another's", () => {
  const host = new Host();
  const link = host.sim.link({ mtu: 1500 });
  const out: Parsed[] = [];
  link.b.receive = (buffer, offset, length) =>
    out.push(parse(buffer.slice(offset, offset + length)));
  const nic = host.stack.addNic({ name: "bare", mtu: 1500, link: link.a });
  host.stack.routes.insert(prefix("10.8.0.0/24"), nic);
  const ping = icmp("10.8.0.2", "10.9.0.1", 8, 0, concat(ZERO, DATA), { hopLimit: 1 });
  host.stack.handlePacket(nic, ping, 0, ping.length, 0);
  host.stack.flush(0);
  host.sim.runFor(10);
  assert.deepEqual(out.map(({ source, payload }) => [source, payload[0]]), [["10.9.0.1", 0]]);
  const endpoint = host.stack.tcp.connect({ remote: ip("10.8.0.2"), remotePort: 80 }, 0);
  host.stack.flush(0);
  host.sim.runFor(10);
  assert.deepEqual([out[1]!.source, out[1]!.protocol], ["10.9.0.1", 6]);
  endpoint.abort();
});
