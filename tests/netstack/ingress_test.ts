import assert from "node:assert/strict";
import type { NextHop, TcpEndpoint, TcpForwarderRequest, UdpFlow } from "../../netstack/mod.ts";
import {
  concat,
  Host,
  icmp,
  ip,
  packet,
  tcpSegment,
  tcpSyn,
  UDP,
  udp,
  udpDatagram,
  uint16,
  uint32,
} from "./packets.ts";

const ALICE = { name: "alice" };
const BOB = { name: "bob" };
const DATA = Uint8Array.of(1, 2, 3, 4, 5);

/** Hands a packet to the host as sent by `from`. */
function receiveFrom(host: Host, from: unknown, bytes: Uint8Array) {
  host.stack.handlePacket(host.nic, bytes.slice(), 0, bytes.length, host.sim.now, from);
  host.sim.runFor(0);
  return host.take();
}

/** Notes the hop of every packet that leaves, and fills it as a link would. */
function noteHops(host: Host): (NextHop | undefined)[] {
  const hops: (NextHop | undefined)[] = [];
  const transmit = host.port.transmit.bind(host.port);
  host.port.transmit = (buffer, offset, length, now, hop?: NextHop) => {
    hops.push(hop);
    transmit(buffer, offset, length, now);
  };
  return hops;
}

Deno.test("TCP: who sent the SYN is in the forwarder's request and the connection it becomes", () => {
  const host = new Host();
  const proxy = host.addProxyNic("10.50.0.0/16");
  const requests: TcpForwarderRequest[] = [];
  host.stack.tcp.setForwarder(proxy, { request: (request) => requests.push(request) });
  receiveFrom(host, ALICE, tcpSyn("10.9.0.2", 1000, "10.50.0.1", 80));
  receiveFrom(host, BOB, tcpSyn("10.9.0.3", 1000, "10.50.0.1", 80));
  assert.deepEqual(requests.map(({ from }) => from), [ALICE, BOB]);
  assert.equal(requests[1]!.accept()!.from, BOB);
  assert.equal(requests[0]!.accept()!.from, ALICE);
});

Deno.test("TCP: a listener's connection knows who opened it, by SYN and by SYN cookie", () => {
  for (const [from, maxHalfOpen] of [[ALICE, 10], [BOB, 0]] as const) {
    const host = new Host({}, { tcp: { maxHalfOpen } });
    const accepted: TcpEndpoint[] = [];
    host.stack.tcp.listen({ port: 7 }, { accepted: (endpoint) => accepted.push(endpoint) });
    const [synAck] = receiveFrom(host, from, tcpSyn("10.9.0.2", 1000, "10.9.0.1", 7));
    const view = new DataView(synAck!.payload.buffer, synAck!.payload.byteOffset);
    const ack = view.getUint32(4) + 1;
    receiveFrom(host, from, tcpSegment("10.9.0.2", 1000, "10.9.0.1", 7, 1001, ack, 0x10));
    assert.equal(accepted.length, 1);
    assert.equal(accepted[0]!.from, from);
    assert.equal(host.stack.counters.tcp.synCookiesAccepted, maxHalfOpen === 0 ? 1 : 0);
  }
});

Deno.test("TCP: half-open requests are shared by who sent the SYN", () => {
  const host = new Host({}, { tcp: { maxHalfOpen: 10, maxHalfOpenPerSource: 10 } });
  const proxy = host.addProxyNic("10.50.0.0/16");
  const asked: unknown[] = [];
  const aborted: number[] = [];
  host.stack.tcp.setForwarder(proxy, {
    request: (request) => {
      asked.push(request.from);
      request.onAborted = () => aborted.push(request.clientPort);
    },
  });
  const syn = (from: unknown, source: string, port: number) => {
    receiveFrom(host, from, tcpSyn(source, port, "10.50.0.1", 80));
    host.sim.runFor(1);
  };
  const { counters } = host.stack;
  // Alone somebody may have all, and no more.
  for (let port = 1; port <= 12; port++) syn(ALICE, "10.9.0.2", port);
  assert.deepEqual([asked.length, counters.tcp.halfOpenFull], [10, 2]);
  // Another one gets half of them, the oldest first.
  for (let port = 1; port <= 8; port++) syn(BOB, "10.9.0.3", port);
  assert.equal(asked.filter((from) => from === BOB).length, 5);
  assert.deepEqual(aborted, [1, 2, 3, 4, 5]);
  assert.deepEqual([counters.tcp.halfOpenEvicted, counters.tcp.halfOpenFull], [5, 5]);
  assert.equal(host.stack.resources().tcpHalfOpen, 10);
  // And what is above its share gets nothing back from who is at it.
  syn(ALICE, "10.9.0.2", 20);
  assert.equal(asked.length, 15);
});

Deno.test("TCP: half-open connections of a listener are shared by who sent the SYN", () => {
  const host = new Host({}, { tcp: { maxHalfOpen: 4, synCookies: false } });
  host.stack.tcp.listen({ port: 7 }, { accepted: () => {} });
  for (let port = 1; port <= 6; port++) {
    receiveFrom(host, ALICE, tcpSyn("10.9.0.2", port, "10.9.0.1", 7));
  }
  assert.equal(host.stack.tcp.connectionCount, 4);
  const [synAck] = receiveFrom(host, BOB, tcpSyn("10.9.0.3", 1, "10.9.0.1", 7));
  assert.equal(synAck!.destination, "10.9.0.3");
  assert.equal(host.stack.tcp.connectionCount, 4);
});

Deno.test("TCP: a connection of our own comes from nobody", () => {
  const host = new Host();
  const endpoint = host.stack.tcp.connect({ remote: ip("10.9.0.2"), remotePort: 80 }, 0);
  assert.equal(endpoint.from, undefined);
});

Deno.test("UDP: a flow knows who sent its latest datagram, when its forwarder is asked", () => {
  const host = new Host();
  const proxy = host.addProxyNic("10.50.0.0/16");
  const seen: [UdpFlow, unknown][] = [];
  host.stack.setUdpForwarder(proxy, {
    datagram: (flow) => {
      seen.push([flow, flow.from]);
      return "accept";
    },
  });
  for (const from of [ALICE, ALICE, BOB]) {
    receiveFrom(host, from, udp("10.9.0.2", 1000, "10.50.0.1", 53, DATA));
  }
  assert.deepEqual(seen.map(([, from]) => from), [ALICE, ALICE, BOB]);
  assert.equal(seen[2]![0], seen[0]![0]);
});

Deno.test("UDP: an endpoint's handler is told who sent the datagram", () => {
  const host = new Host();
  const seen: unknown[] = [];
  const endpoint = host.stack.bindUdp({ port: 7 });
  endpoint.handler = { datagram: (...args) => seen.push(args[7]) };
  receiveFrom(host, BOB, udp("10.9.0.2", 1000, "10.9.0.1", 7, DATA));
  receiveFrom(host, undefined, udp("10.9.0.2", 1000, "10.9.0.1", 7, DATA));
  assert.deepEqual(seen, [BOB, undefined]);
});

for (const version of [4, 6] as const) {
  const client = version === 4 ? "10.9.0.2" : "fd09::2";
  const own = version === 4 ? "10.9.0.1" : "fd09::1";

  /** A datagram of 24 bytes in three fragments. */
  const fragments = (identification: number): Uint8Array[] => {
    const whole = udpDatagram(client, 1000, own, 7, new Uint8Array(16).fill(identification));
    return [0, 8, 16].map((start) => {
      const payload = whole.subarray(start, start + 8);
      const more = start < 16;
      const addresses = { source: client, destination: own };
      if (version === 4) {
        const fragment = start / 8 | (more ? 0x2000 : 0);
        return packet({ ...addresses, protocol: UDP, identification, fragment, payload });
      }
      const header = concat(
        Uint8Array.of(UDP, 0),
        uint16(start | (more ? 1 : 0)),
        uint32(identification),
      );
      return packet({ ...addresses, protocol: 44, payload: concat(header, payload) });
    });
  };

  Deno.test(`IPv${version}: nobody completes, poisons or takes over another's fragments`, () => {
    const host = new Host();
    const seen: [unknown, number][] = [];
    const endpoint = host.stack.bindUdp({ port: 7 });
    endpoint.handler = {
      datagram: (_endpoint, _source, _port, buffer, offset, _length, _now, from) =>
        seen.push([from, buffer[offset]!]),
    };
    const [first, second, third] = fragments(1) as [Uint8Array, Uint8Array, Uint8Array];
    receiveFrom(host, ALICE, first);
    // The rest, forged by somebody else: whole pieces, and one that overlaps the first.
    receiveFrom(host, BOB, second);
    receiveFrom(host, BOB, third);
    assert.deepEqual(seen, []);
    const overlapping = first.slice();
    overlapping[overlapping.length - 1]! ^= 1;
    receiveFrom(host, BOB, overlapping);
    receiveFrom(host, ALICE, third);
    assert.deepEqual(seen, []);
    receiveFrom(host, ALICE, second);
    assert.deepEqual(seen, [[ALICE, 1]]);
    assert.equal(host.stack.counters.ip.reassemblyOverlap, 0);
  });

  Deno.test(`IPv${version}: packets of a flow share a next hop, answers of ICMP have none`, () => {
    const host = new Host();
    const hops = noteHops(host);
    const endpoint = host.stack.bindUdp({ port: 7 });
    endpoint.handler = {
      datagram: (endpoint, source, port, buffer, offset, length, now) => {
        endpoint.send(source, port, buffer, offset, length, now);
        endpoint.send(source, port, new Uint8Array(3000), 0, 3000, now);
      },
    };
    receiveFrom(host, ALICE, udp(client, 1000, own, 7, DATA));
    assert.equal(hops.length, 4, "one whole, and one in three fragments");
    assert.deepEqual(hops[0], { to: undefined, generation: 0 });
    for (const hop of hops) assert.equal(hop, hops[0]);
    hops.length = 0;
    const type = version === 4 ? 8 : 128;
    receiveFrom(host, ALICE, icmp(client, own, type, 0, new Uint8Array(12)));
    receiveFrom(host, ALICE, udp(client, 1000, own, 9, DATA));
    assert.deepEqual(hops, [undefined, undefined]);
  });
}

Deno.test("a flood of fragments takes nothing from another sender", () => {
  const host = new Host({}, { reassembly: { high: 20_000, low: 15_000 } });
  const seen: unknown[] = [];
  host.stack.bindUdp({ port: 7 }).handler = { datagram: (...args) => seen.push(args[7]) };
  const whole = udpDatagram("10.9.0.3", 1000, "10.9.0.1", 7, new Uint8Array(16));
  const piece = (source: string, identification: number, start: number) =>
    packet({
      source,
      destination: "10.9.0.1",
      protocol: UDP,
      identification,
      fragment: start / 8 | (start < 16 ? 0x2000 : 0),
      payload: whole.subarray(start, start + 8),
    });
  receiveFrom(host, BOB, piece("10.9.0.3", 1, 0));
  for (let i = 0; i < 200; i++) receiveFrom(host, ALICE, piece("10.9.0.2", i, 0));
  assert.ok(host.stack.counters.ip.reassemblyEvicted > 100);
  receiveFrom(host, BOB, piece("10.9.0.3", 1, 8));
  receiveFrom(host, BOB, piece("10.9.0.3", 1, 16));
  assert.deepEqual(seen, [BOB]);
});

Deno.test("the segments of a connection share a next hop of its own", () => {
  const host = new Host();
  const hops = noteHops(host);
  const ends = [80, 81].map((remotePort) =>
    host.stack.tcp.connect({ remote: ip("10.9.0.2"), remotePort }, host.sim.now)
  );
  host.sim.runFor(1500);
  assert.equal(ends.length, 2);
  assert.equal(hops.length, 4, "a SYN and its retransmission each");
  assert.notEqual(hops[0], hops[1]);
  assert.deepEqual(new Set(hops), new Set([hops[0], hops[1]]));
});

Deno.test("a packet for another peer is lent to the link, which says if nobody takes it", () => {
  const host = new Host({ forwarding: true });
  const lent: Uint8Array[] = [];
  host.port.forward = (buffer, offset, length) => {
    lent.push(buffer.slice(offset, offset + length));
    return false;
  };
  const [report] = receiveFrom(host, ALICE, udp("10.9.0.2", 1000, "10.9.0.3", 7, DATA));
  assert.equal(lent.length, 1);
  assert.deepEqual([report!.payload[0], report!.payload[1]], [3, 1]);
});
