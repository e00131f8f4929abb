import assert from "node:assert/strict";
import {
  type IcmpErrorKind,
  IpAddress,
  PortInUseError,
  type UdpFlow,
  type UdpVerdict,
} from "../../netstack/mod.ts";
import {
  concat,
  Host,
  ip,
  packet,
  type Parsed,
  plainChecksum,
  prefix,
  UDP,
  udp,
  udpDatagram,
  uint16,
  uint32,
} from "./packets.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5);

interface Asked {
  flow: UdpFlow;
  destination: IpAddress;
  port: number;
  data: Uint8Array;
}

/** A gateway whose forwarder notes what it is asked for, and gives `verdict`. */
function gateway(maxUdpFlows?: number) {
  const host = new Host({}, maxUdpFlows === undefined ? {} : { maxUdpFlows });
  const nic = host.addProxyNic("10.50.0.0/16", "fd50::/64");
  const asked: Asked[] = [];
  const lab = { host, nic, asked, verdict: "accept" as UdpVerdict };
  host.stack.setUdpForwarder(nic, {
    datagram: (flow, destination, port, buffer, offset, length) => {
      asked.push({ flow, destination, port, data: buffer.slice(offset, offset + length) });
      return lab.verdict;
    },
  });
  return lab;
}

function ports({ payload }: Parsed): number[] {
  const view = new DataView(payload.buffer, payload.byteOffset);
  return [view.getUint16(0), view.getUint16(2)];
}

Deno.test("of a flow's further datagrams an ICMP error's words are kept, not whole headers", () => {
  const { host, nic, asked } = gateway();
  for (
    const [source, destination, least] of [
      // What tells the destination's address from the last one's, and what the error cannot do without.
      ["10.9.0.2", "10.50.0.1", 4 + 13],
      ["fd09::2", "fd50::1", 16 + 12],
    ] as const
  ) {
    const bytes = udp(source, 1000, destination, 53, DATA);
    host.receive(bytes);
    let reads = 0;
    const buffer = new Proxy(bytes, {
      get(target, name) {
        if (typeof name !== "string" || !/^\d+$/.test(name)) assert.fail(`${String(name)} is read`);
        reads++;
        return target[Number(name)];
      },
    });
    const { flow } = asked.at(-1)!;
    const version = ip(source).version;
    const address = version === 4 ? 12 : 8;
    flow.noteDatagram({
      ...{ nic, ingress: host.nic, from: "somebody", version, local: false, buffer, ipOffset: 0 },
      source: address,
      destination: address + ip(source).bytes.length,
      transport: version === 4 ? 20 : 40,
      ...{ length: 8 + DATA.length, hopLimit: 60, trafficClass: 0 },
    });
    assert.deepEqual([flow.from, flow.hopLimit, reads], ["somebody", 60, least]);
  }
});

Deno.test("one flow for one client address and port, whoever it writes to (RFC 4787 §4.1)", () => {
  const { host, asked } = gateway();
  host.receive(
    udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA),
    udp("10.9.0.2", 1000, "10.50.0.2", 123, DATA),
    udp("10.9.0.2", 1001, "10.50.0.1", 53, DATA),
    udp("10.9.0.3", 1000, "10.50.0.1", 53, DATA),
    udp("10.9.0.2", 1000, "10.50.0.3", 53, DATA),
    udp("fd09::2", 1000, "fd50::1", 53, DATA),
  );
  const flows = asked.map(({ flow }) => flow);
  assert.equal(flows[1], flows[0]);
  assert.equal(flows[4], flows[0]);
  assert.equal(new Set(flows).size, 4);
  assert.equal(host.stack.resources().udpFlows, 4);
  assert.equal(String(flows[0]!.client), "10.9.0.2");
  assert.equal(flows[0]!.clientPort, 1000);
  assert.equal(flows[0]!.ingress, host.nic);
  assert.deepEqual(asked.map(({ destination, port }) => `${destination} ${port}`), [
    "10.50.0.1 53",
    "10.50.0.2 123",
    "10.50.0.1 53",
    "10.50.0.1 53",
    "10.50.0.3 53",
    "fd50::1 53",
  ]);
  assert.deepEqual(asked[0]!.data, DATA);
});

Deno.test("the same destination as the flow's last is the same object", () => {
  const { host, asked } = gateway();
  const datagram = udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA);
  host.receive(datagram, datagram, udp("10.9.0.2", 1000, "10.50.0.2", 53, DATA));
  assert.equal(asked[1]!.destination, asked[0]!.destination);
  assert.notEqual(asked[2]!.destination, asked[0]!.destination);
});

Deno.test("a flow answers from any address, by the NIC the client came in by", () => {
  const { host, asked } = gateway();
  host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA));
  const { flow } = asked[0]!;
  assert.equal(flow.send(ip("10.50.0.1"), 53, DATA, 1, 3, host.sim.now), true);
  assert.equal(flow.send(ip("8.8.8.8"), 5353, DATA, 0, 0, host.sim.now), true);
  host.sim.runFor(0);
  const [first, second] = host.take();
  assert.deepEqual([first!.source, first!.destination], ["10.50.0.1", "10.9.0.2"]);
  assert.deepEqual(ports(first!), [53, 1000]);
  assert.deepEqual([...first!.payload.slice(8)], [2, 3, 4]);
  assert.deepEqual([second!.source, ports(second!), second!.payload.length], ["8.8.8.8", [
    5353,
    1000,
  ], 8]);
  assert.equal(flow.send(ip("fd50::1"), 53, DATA, 0, 5, host.sim.now), false);
});

Deno.test("a NIC that does not spoof lets a flow answer only from the NIC's own addresses", () => {
  const { host, nic, asked } = gateway();
  nic.spoofing = false;
  host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA));
  assert.equal(asked[0]!.flow.send(ip("10.50.0.1"), 53, DATA, 0, 5, host.sim.now), false);
  host.sim.runFor(0);
  assert.deepEqual(host.take(), []);
});

Deno.test("refused and prohibited datagrams are reported, dropped ones are not, and leave no flow", () => {
  const lab = gateway();
  const datagram = udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA);
  const six = udp("fd09::2", 1000, "fd50::1", 53, DATA);
  const answerTo = (verdict: UdpVerdict, bytes: Uint8Array) => {
    lab.verdict = verdict;
    const [answer] = lab.host.receive(bytes);
    if (answer === undefined) return undefined;
    assert.deepEqual(answer.payload.slice(8), bytes);
    return [answer.source, answer.payload[0], answer.payload[1]];
  };
  assert.deepEqual(answerTo("refuse", datagram), ["10.50.0.1", 3, 3]);
  assert.deepEqual(answerTo("prohibited", datagram), ["10.9.0.1", 3, 13]);
  assert.equal(answerTo("drop", datagram), undefined);
  assert.deepEqual(answerTo("refuse", six), ["fd50::1", 1, 4]);
  assert.deepEqual(answerTo("prohibited", six), ["fd09::1", 1, 1]);
  assert.equal(lab.host.stack.resources().udpFlows, 0);
  const { portUnreachable, prohibited, dropped } = lab.host.stack.counters.udp;
  assert.deepEqual([portUnreachable, prohibited, dropped], [2, 2, 1]);
});

Deno.test("a flow with a session outlives a refused datagram", () => {
  const lab = gateway();
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA));
  lab.asked[0]!.flow.session = "mine";
  lab.verdict = "refuse";
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.2", 53, DATA));
  assert.equal(lab.host.stack.resources().udpFlows, 1);
  assert.equal(lab.asked[1]!.flow, lab.asked[0]!.flow);
});

/** What {@link UdpFlow.report} has the client told. */
function reported({ host, asked }: ReturnType<typeof gateway>) {
  const { flow, destination, port } = asked.at(-1)!;
  return (kind: IcmpErrorKind, mtu = 0, about = { destination, port }, reporter?: IpAddress) => {
    const { now } = host.sim;
    const isPassedOn = flow.report(kind, mtu, about.destination, about.port, reporter, now);
    host.sim.runFor(0);
    const answers = host.take();
    assert.equal(answers.length, isPassedOn ? 1 : 0);
    return answers[0];
  };
}

Deno.test("what became of a datagram beyond is passed on, quoting the client's last one", () => {
  const lab = gateway();
  const { host } = lab;
  for (const options of [undefined, Uint8Array.of(1, 1, 1, 0)]) {
    const datagram = udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA, options && { options });
    host.receive(udp("10.9.0.2", 1000, "10.50.0.7", 53, DATA), datagram);
    const answer = reported(lab)("port-unreachable")!;
    assert.equal(answer.source, "10.50.0.1");
    assert.deepEqual([...answer.payload.slice(0, 2)], [3, 3]);
    const quote = answer.payload.slice(8);
    assert.equal(quote.length, 28);
    assert.deepEqual(quote.slice(20), datagram.slice(-13, -5));
    assert.deepEqual(quote.slice(12, 20), datagram.slice(12, 20));
  }
  const six = udp("fd09::2", 1000, "fd50::1", 53, DATA);
  host.receive(six);
  const answer = reported(lab)("host-unreachable")!;
  assert.deepEqual([...answer.payload.slice(0, 2)], [1, 3]);
  assert.deepEqual(answer.payload.slice(8), six.slice(0, 48));
});

Deno.test("every kind of report has its type and code", () => {
  const expected: [IcmpErrorKind, number[], number[]][] = [
    ["port-unreachable", [3, 3], [1, 4]],
    ["host-unreachable", [3, 1], [1, 3]],
    ["net-unreachable", [3, 0], [1, 0]],
    ["prohibited", [3, 13], [1, 1]],
    ["protocol-unreachable", [3, 2], [4, 1]],
    ["time-exceeded", [11, 0], [3, 0]],
  ];
  for (const version of [4, 6]) {
    const lab = gateway();
    lab.host.receive(
      version === 4
        ? udp("10.9.0.2", 1000, "10.50.0.1", 9, DATA)
        : udp("fd09::2", 1000, "fd50::1", 9, DATA),
    );
    const report = reported(lab);
    for (const [kind, four, six] of expected) {
      assert.deepEqual([...report(kind)!.payload.slice(0, 2)], version === 4 ? four : six, kind);
    }
    assert.equal(report("parameter-problem"), undefined);
  }
});

Deno.test("a report comes from the router that made it, if that is of the client's family", () => {
  const lab = gateway();
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 33_434, DATA, { hopLimit: 3 }));
  assert.equal(lab.asked[0]!.flow.hopLimit, 2);
  const report = reported(lab);
  assert.equal(report("time-exceeded", 0, undefined, ip("192.0.2.7"))!.source, "192.0.2.7");
  assert.equal(report("time-exceeded", 0, undefined, ip("2001:db8::7"))!.source, "10.9.0.1");
  assert.equal(report("time-exceeded")!.source, "10.9.0.1");
});

Deno.test("a report about another destination than the last quotes that one", () => {
  const lab = gateway();
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.7", 70, DATA));
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.8", 80, DATA));
  const about = { destination: ip("10.50.0.7"), port: 70 };
  const { source, payload } = reported(lab)("port-unreachable", 0, about)!;
  assert.equal(source, "10.50.0.7");
  const quote = payload.slice(8);
  assert.deepEqual(quote.slice(16, 20), ip("10.50.0.7").bytes);
  assert.deepEqual(quote.slice(20, 24), concat(uint16(1000), uint16(70)));
  assert.equal(plainChecksum(quote.slice(0, 20)), 0, "the quoted header's checksum");
  // The next report is about the last one again.
  const next = reported(lab)("port-unreachable")!;
  assert.deepEqual(next.payload.slice(24, 28), ip("10.50.0.8").bytes);
});

Deno.test("too big is passed on with the MTU, over IPv4 to a client that forbids fragments", () => {
  const lab = gateway();
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 9, DATA));
  assert.equal(reported(lab)("too-big", 1300), undefined);
  lab.host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 9, DATA, { fragment: 0x4000 }));
  const four = reported(lab)("too-big", 1300)!;
  assert.deepEqual(four.payload.slice(0, 2), Uint8Array.of(3, 4));
  assert.deepEqual(four.payload.slice(4, 8), uint32(1300));
  lab.host.receive(udp("fd09::2", 1000, "fd50::1", 9, DATA));
  const six = reported(lab)("too-big", 1300)!;
  assert.deepEqual(six.payload.slice(0, 2), Uint8Array.of(2, 0));
  assert.deepEqual(six.payload.slice(4, 8), uint32(1300));
  // RFC 8200 §5: less than that is no MTU of IPv6.
  assert.deepEqual(reported(lab)("too-big", 500)!.payload.slice(4, 8), uint32(1280));
});

Deno.test("a closed flow is gone: it sends nothing, and the client's next datagram makes another", () => {
  const { host, asked } = gateway();
  const datagram = udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA);
  host.receive(datagram);
  const { flow } = asked[0]!;
  flow.close();
  flow.close();
  assert.equal(host.stack.resources().udpFlows, 0);
  assert.equal(flow.send(ip("10.50.0.1"), 53, DATA, 0, 5, host.sim.now), false);
  assert.equal(
    flow.report("port-unreachable", 0, ip("10.50.0.1"), 53, undefined, host.sim.now),
    false,
  );
  host.receive(datagram);
  assert.notEqual(asked[1]!.flow, flow);
  assert.equal(host.sent.length, 0);
});

Deno.test("the flow table is bounded, and has room again when flows end", () => {
  const { host, asked } = gateway(100);
  for (let port = 1; port <= 150; port++) {
    host.receive(udp("10.9.0.2", port, "10.50.0.1", 53, DATA));
  }
  assert.equal(asked.length, 100);
  assert.equal(host.stack.counters.udp.flowLimit, 50);
  for (const { flow } of asked.splice(0)) flow.close();
  assert.equal(host.stack.resources().udpFlows, 0);
  host.receive(udp("10.9.0.2", 120, "10.50.0.1", 53, DATA));
  assert.equal(asked.length, 1);
});

Deno.test("many flows are each found again, and all end with their NIC", () => {
  const { host, nic, asked } = gateway();
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 2000; i++) {
      host.receive(udp(`10.9.0.${2 + i % 200}`, 1000 + i, "10.50.0.1", 53, DATA));
    }
  }
  for (let i = 0; i < 2000; i++) assert.equal(asked[i]!.flow, asked[2000 + i]!.flow);
  assert.equal(new Set(asked.map(({ flow }) => flow)).size, 2000);
  host.stack.removeNic(nic);
  assert.equal(host.stack.resources().udpFlows, 0);
});

Deno.test("without a forwarder a proxied address refuses datagrams", () => {
  const host = new Host();
  host.addProxyNic("10.50.0.0/16");
  const [answer] = host.receive(udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA));
  assert.deepEqual([answer!.source, answer!.payload[0], answer!.payload[1]], ["10.50.0.1", 3, 3]);
});

Deno.test("a checksum of zero is fine for IPv4 and dropped for IPv6; a wrong one is dropped", () => {
  const { host, asked } = gateway();
  host.receive(udp("10.9.0.2", 1, "10.50.0.1", 53, DATA, { checksum: 0 }));
  assert.equal(asked.length, 1);
  host.receive(udp("fd09::2", 1, "fd50::1", 53, DATA, { checksum: 0 }));
  host.receive(udp("10.9.0.2", 1, "10.50.0.1", 53, DATA, { checksum: 0x1234 }));
  host.receive(udp("fd09::2", 1, "fd50::1", 53, DATA, { checksum: 0x1234 }));
  assert.equal(asked.length, 1);
  assert.equal(host.stack.counters.udp.badChecksum, 3);
});

Deno.test("a checksum that comes out as zero is sent as 0xffff", () => {
  const host = new Host();
  const endpoint = host.stack.bindUdp({ port: 5000 });
  // The two bytes that make the rest of the sum 0xffff.
  const rest = udpDatagram("10.9.0.1", 5000, "10.9.0.2", 9, uint16(0));
  const data = rest.slice(6, 8);
  endpoint.send(ip("10.9.0.2"), 9, data, 0, 2, host.sim.now);
  host.sim.runFor(0);
  const [sent] = host.take();
  assert.deepEqual([...sent!.payload.slice(6, 8)], [0xff, 0xff]);
});

Deno.test("the UDP length may leave bytes over, but not say more than there is", () => {
  const { host, asked } = gateway();
  const receive = (payload: Uint8Array) =>
    host.receive(packet({ source: "10.9.0.2", destination: "10.50.0.1", protocol: UDP, payload }));
  receive(concat(udpDatagram("10.9.0.2", 1, "10.50.0.1", 53, DATA), Uint8Array.of(9, 9)));
  assert.deepEqual(asked[0]!.data, DATA);
  const whole = udpDatagram("10.9.0.2", 1, "10.50.0.1", 53, DATA);
  for (let length = 0; length < whole.length; length++) receive(whole.slice(0, length));
  for (const length of [0, 7, 14, 65_535]) {
    const bytes = whole.slice();
    bytes.set(uint16(length), 4);
    bytes.set(uint16(0), 6);
    receive(bytes);
  }
  receive(udpDatagram("10.9.0.2", 1, "10.50.0.1", 0, DATA));
  receive(udpDatagram("10.9.0.2", 0, "10.50.0.1", 53, DATA));
  assert.equal(asked.length, 1);
  assert.equal(host.stack.counters.udp.malformed, whole.length + 6);
});

Deno.test("a port belongs to one endpoint; an address of its own goes before all addresses", () => {
  const host = new Host({ network: ["10.9.0.1/24", "10.9.0.5/24", "fd09::1/64"] });
  const heard: string[] = [];
  const one = host.stack.bindUdp({ address: ip("10.9.0.5"), port: 53 });
  one.handler = { datagram: () => heard.push("one") };
  assert.throws(() => host.stack.bindUdp({ port: 53 }), PortInUseError);
  assert.throws(() => host.stack.bindUdp({ address: ip("10.9.0.5"), port: 53 }), {
    name: "PortInUseError",
    message: "UDP port 53 is in use",
  });
  host.stack.bindUdp({ address: ip("fd09::1"), port: 53 }).handler = {
    datagram: () => heard.push("six"),
  };
  host.receive(udp("10.9.0.2", 1, "10.9.0.5", 53, DATA), udp("fd09::2", 1, "fd09::1", 53, DATA));
  assert.deepEqual(heard, ["one", "six"]);
  assert.equal(host.receive(udp("10.9.0.2", 1, "10.9.0.1", 53, DATA))[0]!.payload[1], 3);
  one.close();
  one.close();
  assert.throws(() => one.send(ip("10.9.0.2"), 1, DATA, 0, 5, 0), TypeError);
  host.stack.bindUdp({ address: ip("10.9.0.5"), port: 53 });
  assert.equal(host.stack.resources().udpEndpoints, 2);
});

Deno.test("bad ports, foreign addresses and missing routes are told apart", () => {
  const host = new Host();
  assert.throws(() => host.stack.bindUdp({ port: 65_536 }), RangeError);
  assert.throws(() => host.stack.bindUdp({ port: -1 }), RangeError);
  assert.throws(() => host.stack.bindUdp({ address: ip("10.9.0.7") }), {
    name: "RangeError",
    message: "10.9.0.7 is not an address of this stack",
  });
  const endpoint = host.stack.bindUdp({});
  assert.ok(endpoint.port >= 49_152);
  for (const to of ["192.0.2.1", "10.9.0.1", "224.0.0.1", "127.0.0.1", "2001:db8::1", "::1"]) {
    assert.equal(endpoint.send(ip(to), 9, DATA, 0, 5, host.sim.now), false, to);
  }
  assert.equal(host.stack.counters.udp.noRoute, 6);
  host.stack.routes.insert(prefix("192.0.2.0/24"), host.nic);
  assert.equal(endpoint.send(ip("192.0.2.1"), 9, DATA, 0, 5, host.sim.now), true);
});

Deno.test("a foreign address never reaches an endpoint that is bound to all own ones", () => {
  const { host, asked } = gateway();
  host.stack.bindUdp({ port: 53 }).handler = { datagram: () => assert.fail("not an own address") };
  host.receive(udp("10.9.0.2", 1, "10.50.0.1", 53, DATA));
  assert.equal(asked.length, 1);
});

Deno.test("what a handler sends while a packet comes in leaves with the flush", () => {
  const host = new Host();
  const endpoint = host.stack.bindUdp({ port: 7 });
  endpoint.handler = {
    datagram: (_endpoint, source, port, buffer, offset, length, now) => {
      endpoint.send(source, port, buffer, offset, length, now);
    },
  };
  const bytes = udp("10.9.0.2", 1000, "10.9.0.1", 7, DATA);
  host.stack.handlePacket(host.nic, bytes, 0, bytes.length, host.sim.now);
  assert.equal(host.port.counters.sent, 0);
  assert.equal(host.stack.flush(host.sim.now), false);
  assert.equal(host.port.counters.sent, 1);
});

Deno.test("every ephemeral port is given, each once", () => {
  const host = new Host();
  const taken = new Set<number>();
  for (let i = 0; i < 16_384; i++) taken.add(host.stack.bindUdp({}).port);
  assert.equal(taken.size, 16_384);
  assert.throws(() => host.stack.bindUdp({}), PortInUseError);
});
