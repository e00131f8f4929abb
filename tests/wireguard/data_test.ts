/** Transport data: padding, lengths, cryptokey routing, replay, staged packets (§5.4.6). */

import assert from "node:assert/strict";
import fc from "fast-check";
import { SendResult } from "../../wireguard/mod.ts";
import { paddingOf } from "../../wireguard/padding.ts";
import { endpoint, Host, host, ipv4Packet, Network, Pair, v4 } from "./pair.ts";

const DATA = 4;

function ipv6Packet(length: number, payloadLength = length - 40): Uint8Array {
  const packet = new Uint8Array(length);
  packet[0] = 0x60;
  packet[4] = payloadLength >>> 8;
  packet[5] = payloadLength;
  packet[8] = 0xfd; // source fd00::1
  packet[23] = 1;
  packet[24] = 0xfd; // destination fd00::2
  packet[39] = 2;
  return packet;
}

const V6_A = { address: ipv6Packet(40).slice(8, 24), length: 128 };
const V6_B = { address: ipv6Packet(40).slice(24, 40), length: 128 };

function dualStack(mtu?: number): Pair {
  return new Pair({
    mtu,
    a: { allowedIps: [host(2), V6_B] },
    b: { allowedIps: [host(1), V6_A] },
  }).connect();
}

/** Seals any bytes as `a`'s next packet, whatever they are. */
function forge(pair: Pair, inner: Uint8Array): Uint8Array {
  const key = pair.ab.keypairs.current!;
  const datagram = new Uint8Array(16 + inner.length + 16);
  const view = new DataView(datagram.buffer);
  view.setUint32(0, 4, true);
  view.setInt32(4, key.remoteIndex, true);
  view.setUint32(8, key.sendLow, true);
  view.setUint32(12, key.sendHigh, true);
  datagram.set(inner, 16);
  key.send.seal(key.sendHigh, key.sendLow, datagram, 16, inner.length);
  key.advance();
  return datagram;
}

function deliver(pair: Pair, datagram: Uint8Array, from = pair.a.address): void {
  pair.b.device.handleDatagram(datagram.slice(), 0, datagram.length, from, pair.now);
}

Deno.test("packets of every length arrive as they were, from a buffer with room around them", () => {
  const pair = dualStack();
  for (let length = 20; length <= 1420; length += 7) {
    assert.equal(pair.aToB(length, length), SendResult.Sent);
    pair.settle();
    assert.deepEqual(
      pair.b.received.pop()!.bytes,
      ipv4Packet("10.0.0.1", "10.0.0.2", length, length),
    );
  }
  for (const length of [40, 41, 1280, 1420]) {
    assert.equal(pair.a.send(ipv6Packet(length)), SendResult.Sent);
    pair.settle();
    assert.deepEqual(pair.b.received.pop()!.bytes, ipv6Packet(length));
  }
});

Deno.test("a packet is sealed in its own buffer, 16 bytes in front of it", () => {
  const pair = new Pair().connect();
  const buffer = new Uint8Array(2000);
  const packet = ipv4Packet("10.0.0.1", "10.0.0.2", 100);
  buffer.set(packet, 516);
  assert.equal(pair.a.device.sendPacket(buffer, 516, 100, 0), SendResult.Sent);
  assert.equal(pair.a.lastTransmit!.buffer, buffer);
  assert.deepEqual(
    [pair.a.lastTransmit!.offset, pair.a.lastTransmit!.length],
    [500, 16 + 112 + 16],
  );
  assert(buffer.subarray(0, 500).every((byte) => byte === 0));
  assert(buffer.subarray(516 + 112 + 16).every((byte) => byte === 0));
});

Deno.test("whether the sink has taken the buffer is told, and only a packet's own can be taken", () => {
  const pair = new Pair();
  pair.a.takes = true;
  assert.equal(pair.aToB(), SendResult.Staged, "copied");
  pair.connect();
  pair.advance(10_000); // what was staged and the keepalives have left by buffers of the peer's
  assert.equal(pair.b.received.length, 1);
  assert.equal(pair.aToB(), SendResult.Taken);
  pair.a.takes = false;
  assert.equal(pair.aToB(), SendResult.Sent);
});

Deno.test("packets with a hop go where those without go, whatever becomes of the allowed IPs", () => {
  const hosts = [2, 3, 4, 5];
  const step = fc.record({
    what: fc.constantFrom("send", "send", "add", "remove", "replace", "leave"),
    peer: fc.nat(2),
    prefix: fc.record({ last: fc.constantFrom(...hosts), length: fc.constantFrom(24, 31, 32) }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const a = new Host(1, endpoint("192.0.2.1", 1001));
    const add = (n: number) =>
      a.device.addPeer({
        publicKey: new Host(n + 10, a.address).device.publicKey,
        endpoint: endpoint("192.0.2.9", 1000 + n),
      }, 0);
    const peers = [0, 1, 2].map(add);
    const hops = new Map(hosts.map((last) => [last, { to: undefined, generation: 0 }]));
    for (const { what, peer, prefix: { last, length } } of steps) {
      const prefix = { address: v4(`10.0.0.${last}`), length };
      if (what === "add") peers[peer]!.addAllowedIp(prefix);
      if (what === "remove") peers[peer]!.removeAllowedIp(prefix);
      if (what === "replace") peers[peer]!.replaceAllowedIps([prefix]);
      if (what === "leave") {
        a.device.removePeer(peers[peer]!, 0);
        peers[peer] = add(peer);
      }
      if (what !== "send") continue;
      const owner = a.device.peerAt(prefix.address, 0, 4);
      const before = owner?.stagedPackets ?? 0;
      const result = a.send(ipv4Packet("10.0.0.1", `10.0.0.${last}`), hops.get(last));
      assert.equal(result, owner === undefined ? SendResult.NoPeer : SendResult.Staged);
      if (owner !== undefined) assert.equal(owner.stagedPackets, Math.min(128, before + 1));
    }
  }));
});

Deno.test("packets are padded with zeros to 16 bytes, never past the MTU; a keepalive has 32 bytes", () => {
  assert.equal(paddingOf(0, 1420), 0);
  assert.equal(paddingOf(1, 1420), 15);
  assert.equal(paddingOf(16, 1420), 0);
  assert.equal(paddingOf(1409, 1420), 11);
  assert.equal(paddingOf(1420, 1420), 0);
  assert.equal(paddingOf(1421, 1420), 15, "beyond the MTU only the rest counts");
  assert.equal(paddingOf(2840, 1420), 0);
  fc.assert(fc.property(fc.integer({ min: 68, max: 2000 }), fc.nat(2000), (mtu, length) => {
    const padded = length + paddingOf(length, mtu);
    if (length <= mtu) assert(padded === mtu || padded % 16 === 0 && padded <= mtu);
    assert(padded - length < 16 && padded >= length);
  }));

  for (const mtu of [1420, 1413, 1280]) {
    const pair = dualStack(mtu);
    const sizes = [20, 32, 33, mtu - 3, mtu].map((length) => {
      pair.aToB(length);
      return pair.a.outbox.splice(0)[0]!.bytes.length - 32;
    });
    assert.deepEqual(sizes, [32, 32, 48, mtu, mtu]);
  }
});

Deno.test("the padding is zero whatever was behind the packet", () => {
  const pair = new Pair().connect();
  pair.aToB(33); // Host.send fills the room with 0xee
  const { bytes } = pair.a.outbox.splice(0)[0]!;
  const key = pair.ba.keypairs.current!;
  const counter = new DataView(bytes.buffer).getUint32(8, true);
  assert(key.receive.open(0, counter, bytes, 16, bytes.length - 16));
  assert(bytes.subarray(16 + 33, bytes.length - 16).every((byte) => byte === 0));
});

Deno.test("padding is cut off by the inner length; lengths that do not fit are dropped", () => {
  const pair = dualStack();
  const padded = new Uint8Array(96);
  padded.set(ipv4Packet("10.0.0.1", "10.0.0.2", 84));
  deliver(pair, forge(pair, padded));
  assert.equal(pair.b.received.pop()!.bytes.length, 84);

  const cases: [string, Uint8Array][] = [
    ["total length beyond the packet", ipv4Packet("10.0.0.1", "10.0.0.2", 84).subarray(0, 83)],
    ["one byte", Uint8Array.of(0x45)],
    ["half a header", ipv4Packet("10.0.0.1", "10.0.0.2", 84).subarray(0, 19)],
    ["half a v6 header", ipv6Packet(60).subarray(0, 39)],
    ["payload length beyond the packet", ipv6Packet(60, 21)],
    ["version 5", ipv4Packet("10.0.0.1", "10.0.0.2").fill(0x55, 0, 1)],
    ["all zero", new Uint8Array(64)],
  ];
  const short = ipv4Packet("10.0.0.1", "10.0.0.2", 84);
  short[3] = 19;
  cases.push(["total length shorter than a header", short]);
  cases.forEach(([what, inner], i) => {
    deliver(pair, forge(pair, inner));
    assert.equal(pair.b.received.length, 0, what);
    assert.equal(pair.b.device.counters.droppedInnerMalformed, i + 1, what);
  });
});

Deno.test("an IPv6 payload length of 65,496 or more does not wrap around in 16 bits", () => {
  const pair = dualStack();
  for (const payloadLength of [65_495, 65_496, 65_500, 65_535]) {
    deliver(pair, forge(pair, ipv6Packet(80, payloadLength)));
  }
  assert.equal(pair.b.received.length, 0);
  assert.equal(pair.b.device.counters.droppedInnerMalformed, 4);
});

Deno.test("an inner source that belongs to no peer, or to another one, is dropped", () => {
  const pair = new Pair().connect();
  const other = new Host(5, endpoint("192.0.2.3", 1003));
  pair.b.device.addPeer({
    publicKey: other.device.publicKey,
    allowedIps: [{ address: v4("10.0.0.64"), length: 26 }],
  }, 0);
  pair.ba.addAllowedIp({ address: v4("10.0.0.0"), length: 24 });
  const inner = (source: string) => forge(pair, ipv4Packet(source, "10.0.0.2", 96));
  deliver(pair, inner("10.1.0.1"));
  assert.equal(pair.b.device.counters.droppedInnerSource, 1);
  // Inside this peer's /24, but the longest prefix is another peer's /26: a spoofed source.
  deliver(pair, inner("10.0.0.65"));
  assert.equal(pair.b.device.counters.droppedInnerSource, 2);
  assert.equal(pair.b.received.length, 0);
  deliver(pair, inner("10.0.0.63"));
  assert.equal(pair.b.received.length, 1);
});

Deno.test("packets go to the peer with the longest prefix; without one there is NoPeer", () => {
  const pair = new Pair();
  assert.equal(pair.a.send(ipv4Packet("10.0.0.1", "10.0.0.3")), SendResult.NoPeer);
  assert.equal(pair.a.device.counters.droppedNoPeer, 1);
  assert.equal(pair.bToA(), SendResult.NoEndpoint);
  assert.equal(pair.b.device.counters.droppedNoEndpoint, 1);
  for (const bytes of [[], [0x45], new Array(19).fill(0x45), new Array(39).fill(0x60), [0x50]]) {
    assert.equal(pair.a.send(Uint8Array.from(bytes)), SendResult.Invalid);
  }
  assert.equal(pair.a.device.sendPacket(new Uint8Array(70_000).fill(0x45), 16, 65_480, 0), 4);
});

Deno.test("an oversized, an empty and a one-byte datagram are dropped, and the next one is heard", () => {
  const pair = new Pair().connect();
  const huge = new Uint8Array(65_535);
  huge[0] = 4;
  for (const bytes of [huge, new Uint8Array(0), Uint8Array.of(4), huge.subarray(0, 31)]) {
    pair.b.device.handleDatagram(bytes.slice(), 0, bytes.length, pair.a.address, 0);
  }
  assert.equal(pair.b.device.counters.droppedMalformed, 3);
  assert.equal(pair.b.device.counters.droppedUnknownIndex, 1);
  pair.aToB();
  pair.settle();
  assert.equal(pair.b.received.length, 1);
});

Deno.test("a large packet, as over a jumbo link, arrives", () => {
  const pair = new Pair({ mtu: 8920 }).connect();
  pair.aToB(8920, 3);
  pair.settle();
  assert.deepEqual(pair.b.received[0]!.bytes, ipv4Packet("10.0.0.1", "10.0.0.2", 8920, 3));
});

Deno.test("the type is read as 32 bits: a reserved byte that is not zero is no message", () => {
  const pair = new Pair().connect();
  pair.aToB();
  const { bytes } = pair.a.outbox.splice(0)[0]!;
  for (const position of [1, 2, 3]) {
    const wrong = bytes.slice();
    wrong[position] = 1;
    deliver(pair, wrong);
  }
  assert.equal(pair.b.device.counters.droppedMalformed, 3);
  deliver(pair, bytes);
  assert.equal(pair.b.received.length, 1);
});

Deno.test("a replayed packet is dropped; packets out of order within the window are not", () => {
  const pair = new Pair().connect();
  const datagrams = Array.from({ length: 50 }, (_, i) => {
    pair.aToB(84, i);
    return pair.a.outbox.splice(0)[0]!;
  });
  for (const datagram of datagrams.toReversed()) pair.b.receive(datagram);
  assert.equal(pair.b.received.length, 50);
  for (const datagram of datagrams) pair.b.receive(datagram);
  assert.equal(pair.b.received.length, 50);
  assert.equal(pair.b.device.counters.droppedReplayed, 50);
});

Deno.test("a counter is marked only after the AEAD succeeds: forgeries do not move the window", () => {
  const pair = new Pair().connect();
  pair.aToB();
  const { bytes } = pair.a.outbox.splice(0)[0]!;
  const forged = bytes.slice();
  new DataView(forged.buffer).setBigUint64(8, 2n ** 40n, true);
  deliver(pair, forged);
  const damaged = bytes.slice();
  damaged[40]! ^= 1;
  deliver(pair, damaged);
  assert.equal(pair.b.device.counters.droppedBadTag, 2);
  deliver(pair, bytes);
  assert.equal(pair.b.received.length, 1);
});

Deno.test("counters near 2^64: accepted below REJECT_AFTER_MESSAGES, never at it or at 2^64 - 1", () => {
  const pair = new Pair().connect();
  const key = pair.ab.keypairs.current!;
  const inner = ipv4Packet("10.0.0.1", "10.0.0.2", 96);
  const limit = 2n ** 64n - 2n ** 13n - 1n;
  for (const [counter, arrives] of [[limit - 1n, 1], [limit, 0], [2n ** 64n - 1n, 0]] as const) {
    key.sendHigh = Number(counter >> 32n);
    key.sendLow = Number(counter & 0xffffffffn);
    const before = pair.b.received.length;
    deliver(pair, forge(pair, inner));
    assert.equal(pair.b.received.length - before, arrives, String(counter));
  }
  assert.equal(pair.b.device.counters.droppedExpired, 2);
});

Deno.test("a packet without a session is staged, and arrives when the handshake has completed", () => {
  const pair = new Pair();
  assert.equal(pair.aToB(84, 7), SendResult.Staged);
  pair.settle();
  assert.deepEqual(pair.b.received.map((r) => r.bytes), [
    ipv4Packet("10.0.0.1", "10.0.0.2", 84, 7),
  ]);
  assert.equal(pair.bToA(), SendResult.Sent);
  pair.settle();
  assert.equal(pair.a.received.length, 1);
});

Deno.test("staged packets leave in order when the handshake completes", () => {
  const pair = new Pair();
  for (let i = 0; i < 100; i++) assert.equal(pair.aToB(84, i), SendResult.Staged);
  pair.settle();
  assert.deepEqual(
    pair.b.received.map((r) => r.bytes),
    Array.from({ length: 100 }, (_, i) => ipv4Packet("10.0.0.1", "10.0.0.2", 84, i)),
  );
});

Deno.test("of more than 128 staged packets the oldest are dropped", () => {
  const pair = new Pair();
  for (let i = 0; i < 150; i++) pair.aToB(84, i);
  assert.equal(pair.ab.stagedPackets, 128);
  assert.equal(pair.a.device.counters.droppedStaged, 22);
  pair.settle();
  assert.equal(pair.b.received.length, 128);
  assert.deepEqual(pair.b.received[0]!.bytes, ipv4Packet("10.0.0.1", "10.0.0.2", 84, 22));
});

Deno.test("the responder's staged packets leave once the initiator has confirmed the session", () => {
  const pair = new Pair();
  pair.ba.setEndpoint(pair.a.address);
  pair.filter = (d) => d.from === pair.a.address || d.type !== 1; // b's own initiation is lost
  pair.bToA(84, 1);
  pair.bToA(84, 2);
  pair.settle();
  pair.ab.initiate(0);
  pair.settle();
  assert.equal(pair.a.received.length, 2);
});

Deno.test("bytes are counted as wg counts them: whole datagrams, handshakes and keepalives included", () => {
  const pair = new Pair().connect();
  assert.equal(pair.ab.sentBytes, 148 + 32);
  assert.equal(pair.ab.receivedBytes, 92);
  assert.equal(pair.ba.receivedBytes, 148 + 32);
  for (let i = 0; i < 10; i++) {
    pair.aToB(84);
    pair.settle();
    pair.bToA(84);
    pair.settle();
  }
  assert.equal(pair.ab.sentBytes, 180 + 10 * 128);
  assert.equal(pair.ab.receivedBytes, 92 + 10 * 128);
  assert.equal(pair.ba.receivedBytes, pair.ab.sentBytes);
  assert.equal(pair.ba.sentBytes, pair.ab.receivedBytes);
  assert.equal(pair.a.device.receivedBytes, 10 * 128);
  assert.equal(pair.b.device.receivedBytes, 32 + 10 * 128);
});

Deno.test("a hub re-seals a packet to another peer in the buffer it arrived in", () => {
  const [a, b] = [new Host(1, endpoint("192.0.2.1", 1)), new Host(2, endpoint("192.0.2.2", 2))];
  const hub = new Host(3, endpoint("192.0.2.3", 3));
  for (const [i, spoke] of [a, b].entries()) {
    hub.device.addPeer({ publicKey: spoke.device.publicKey, allowedIps: [host(i + 1)] }, 0);
    spoke.device.addPeer({
      publicKey: hub.device.publicKey,
      allowedIps: [{ address: v4("10.0.0.0"), length: 24 }],
      endpoint: hub.address,
    }, 0).initiate(0);
  }
  const network = new Network([a, b, hub]);
  network.settle();
  const results: SendResult[] = [];
  hub.received.push = (packet) => {
    const { bytes } = packet;
    const buffer = new Uint8Array(16 + bytes.length + 32);
    buffer.set(bytes, 16);
    results.push(hub.device.sendPacket(buffer, 16, bytes.length, 0));
    return 0;
  };
  a.send(ipv4Packet("10.0.0.1", "10.0.0.2", 200, 5));
  network.settle();
  assert.deepEqual(results, [SendResult.Sent]);
  assert.deepEqual(b.received[0]!.bytes, ipv4Packet("10.0.0.1", "10.0.0.2", 200, 5));
});

Deno.test("data of sizes that are no multiple of 16 is received, as other implementations may send it", () => {
  const pair = new Pair().connect();
  deliver(pair, forge(pair, ipv4Packet("10.0.0.1", "10.0.0.2", 85)));
  assert.equal(pair.b.received[0]!.bytes.length, 85);
  assert.equal(pair.b.sentOfType(DATA).length, 0);
});
