/** Handshakes between devices: sessions, keys, replay, roaming, silence. */

import assert from "node:assert/strict";
import { writeMAC } from "../../wireguard/hash.ts";
import { generatePrivateKey, SendResult } from "../../wireguard/mod.ts";
import { mac1KeyOf } from "./mac1.ts";
import {
  type Datagram,
  endpoint,
  Host,
  host,
  ipv4Packet,
  Network,
  Pair,
  seededRandom,
} from "./pair.ts";

const INITIATION = 1, RESPONSE = 2, DATA = 4;
const OFFSET_SENDER = 4;

/** Captures instead of delivering: what `a` and `b` have put out since the last call. */
function take(host: Host): Datagram[] {
  return host.outbox.splice(0);
}

Deno.test("the exact sizes: initiation 148, response 92, keepalive 32", () => {
  const pair = new Pair().connect();
  const wire = [...pair.a.sent, ...pair.b.sent].sort((x, y) => x.type - y.type);
  assert.deepEqual(wire.map((d) => [d.type, d.bytes.length]), [[1, 148], [2, 92], [4, 32]]);
  assert(wire.every((d) => d.bytes[1] === 0 && d.bytes[2] === 0 && d.bytes[3] === 0));
});

Deno.test("handshake messages of any other size are dropped", () => {
  const pair = new Pair();
  pair.ab.initiate(0);
  pair.a.device.handleHandshakes(0, 1);
  const [initiation] = take(pair.a);
  for (const length of [4, 92, 147, 149, 160]) {
    const bytes = new Uint8Array(length);
    bytes.set(initiation!.bytes.subarray(0, length));
    pair.b.device.handleDatagram(bytes, 0, length, pair.a.address, 0);
  }
  assert.equal(pair.b.device.counters.droppedMalformed, 5);
  assert.equal(pair.b.device.handleHandshakes(0, 10), false);
  assert.equal(pair.b.sent.length, 0);
});

Deno.test("the responder sends no data before the initiator's first authenticated packet", () => {
  const pair = new Pair();
  pair.filter = (d) => d.type !== DATA;
  pair.ab.initiate(0);
  pair.settle();
  assert(pair.ab.hasSession);
  assert(!pair.ba.hasSession);
  assert.equal(pair.bToA(), SendResult.Staged);
  pair.settle();
  assert.equal(pair.b.sentOfType(DATA).length, 0);
  pair.filter = () => true;
  pair.aToB();
  pair.settle();
  assert(pair.ba.hasSession);
  assert.equal(pair.a.received.length, 1, "and then what it had staged");
});

Deno.test("data on its way while keys change is received under the previous key, and after two changes not", () => {
  const pair = new Pair().connect();
  pair.aToB(84, 1);
  pair.aToB(84, 2);
  const [first, second] = take(pair.a);
  pair.advance(6000);
  pair.connect();
  pair.b.receive(first!);
  assert.equal(pair.b.received.length, 1);
  pair.advance(6000);
  pair.connect();
  pair.b.receive(second!);
  assert.equal(pair.b.received.length, 1);
  assert.equal(pair.b.device.counters.droppedUnknownIndex, 1);
});

Deno.test("sessions agreed on and never confirmed replace each other; none piles up", () => {
  const pair = new Pair().connect();
  pair.advance(6000);
  pair.connect();
  const { current } = pair.ba.keypairs;
  assert(pair.ba.keypairs.previous !== undefined);
  pair.filter = (d) => d.type === INITIATION;
  for (let i = 0; i < 3; i++) {
    pair.advance(6000);
    pair.ab.lastSentHandshake = -Infinity;
    pair.ab.initiate(pair.now);
    pair.settle();
    assert.equal(pair.ba.keypairs.previous, undefined);
    assert.equal(pair.ba.keypairs.current, current, "still used for sending");
  }
});

Deno.test("an initiation that waited its turn is not sent when the peer's own was answered meanwhile", () => {
  const pair = new Pair();
  const first = pair.b.device.addPeer({
    publicKey: new Host(100, pair.b.address).device.publicKey,
    endpoint: endpoint("192.0.2.3", 3),
  }, 0);
  first.initiate(0);
  pair.ba.setEndpoint(pair.a.address);
  pair.ba.initiate(0);
  pair.ab.initiate(0);
  pair.a.device.handleHandshakes(0, 1);
  pair.b.receive(take(pair.a)[0]!);
  pair.b.device.handleHandshakes(0, 10);
  assert.deepEqual(take(pair.b).map((d) => [d.type, d.to]), [
    [INITIATION, first.endpoint],
    [RESPONSE, pair.a.address],
  ]);
});

Deno.test("simultaneous initiations leave both sides with a session that works", () => {
  const pair = new Pair();
  pair.ba.setEndpoint(pair.a.address);
  pair.aToB(84, 1);
  pair.bToA(84, 2);
  pair.a.device.handleHandshakes(0, 1);
  pair.b.device.handleHandshakes(0, 1);
  assert.deepEqual([pair.a.outbox.length, pair.b.outbox.length], [1, 1], "crossing on the wire");
  pair.settle();
  assert.deepEqual([pair.a.received.length, pair.b.received.length], [1, 1]);
  for (let i = 0; i < 5; i++) {
    assert.equal(pair.aToB(), SendResult.Sent);
    assert.equal(pair.bToA(), SendResult.Sent);
    pair.settle();
  }
  assert.deepEqual([pair.a.received.length, pair.b.received.length], [6, 6]);
});

Deno.test("preshared keys: both sides need the same, and a change holds from the next handshake on", () => {
  const key = new Uint8Array(32).fill(9);
  const pair = new Pair({ a: { presharedKey: key } });
  pair.ab.initiate(0);
  pair.settle();
  assert(!pair.ab.hasSession);
  assert.equal(pair.a.device.counters.droppedBadResponse, 1);
  pair.ba.setPresharedKey(key);
  pair.advance(6000); // the retry
  assert(pair.ab.hasSession && pair.ba.hasSession);

  key.fill(0); // was copied
  pair.ab.setPresharedKey(new Uint8Array(32).fill(1));
  pair.ba.setPresharedKey(new Uint8Array(32).fill(1));
  pair.advance(6000);
  const before = pair.ab.keypairs.current;
  pair.connect();
  assert.notEqual(pair.ab.keypairs.current, before);
  pair.ba.setPresharedKey(undefined);
  pair.advance(6000);
  pair.ab.initiate(pair.now);
  pair.settle();
  assert.equal(pair.a.device.counters.droppedBadResponse, 2);
});

Deno.test("a replayed initiation is not answered, though the rest of it is genuine", () => {
  const pair = new Pair().connect();
  const initiation = pair.a.sentOfType(INITIATION)[0]!;
  pair.advance(10_000);
  const before = pair.b.sent.length;
  pair.b.receive(initiation);
  pair.settle();
  assert.equal(pair.b.sent.length, before);
  assert.equal(pair.b.device.counters.droppedReplayedInitiation, 1);
});

Deno.test("a sender index changed on its way costs one attempt: it is under nothing but mac1 (§5.4.2)", () => {
  const pair = new Pair().connect();
  const session = pair.ba.keypairs.current;
  pair.advance(6000);
  pair.ab.initiate(pair.now);
  pair.a.device.handleHandshakes(pair.now, 1);
  // Whoever is on the path and knows the public key can do this; or drop the message altogether.
  const [{ bytes }] = take(pair.a) as [Datagram];
  bytes[OFFSET_SENDER]! ^= 1;
  writeMAC(mac1KeyOf(pair.b.device.publicKey), bytes, 0, 116, bytes, 116);
  pair.b.device.handleDatagram(bytes, 0, bytes.length, pair.a.address, pair.now);
  pair.settle();
  assert.equal(pair.a.device.counters.droppedUnknownIndex, 1, "the answer is to another handshake");
  assert.equal(pair.ba.keypairs.current, session);
  pair.aToB();
  pair.bToA();
  pair.settle();
  assert.deepEqual([pair.a.received.length, pair.b.received.length], [1, 1], "under the old keys");
  pair.advance(5400);
  assert.notEqual(pair.ba.keypairs.current, session, "the next attempt is its own");
  pair.aToB();
  pair.bToA();
  pair.settle();
  assert.deepEqual([pair.a.received.length, pair.b.received.length], [2, 2]);
});

Deno.test("an initiation flood: at most 50 per second of one peer are answered", () => {
  const pair = new Pair();
  let answered = 0;
  for (let i = 0; i < 30; i++) {
    pair.ab.lastSentHandshake = -Infinity; // a client that does not keep to its own limit
    pair.a.wallOffset += 20;
    pair.ab.initiate(pair.now);
    pair.a.device.handleHandshakes(pair.now, 1);
    for (const datagram of take(pair.a)) pair.b.receive(datagram);
    pair.b.device.handleHandshakes(pair.now, 1);
    answered += take(pair.b).length;
    pair.advance(10);
  }
  assert.equal(answered, 15);
  assert.equal(pair.b.device.counters.droppedInitiationFlood, 15);
});

Deno.test("a clock set back does not stop handshakes: timestamps go on increasing", () => {
  const pair = new Pair().connect();
  for (const wall of [1_600_000_000_000, 0, -5, NaN]) {
    pair.advance(6000);
    pair.a.wallOffset = wall - pair.now;
    const before = pair.ab.keypairs.current;
    pair.connect();
    assert.notEqual(pair.ab.keypairs.current, before, String(wall));
  }
});

Deno.test("a clock set far forward and back again does not lock the key out (CVE-2021-46873)", () => {
  const pair = new Pair();
  pair.a.wallOffset += 80 * 365 * 86_400_000;
  pair.connect();
  pair.a.wallOffset = 1_700_000_000_000;
  pair.advance(6000);
  const before = pair.ab.keypairs.current;
  pair.connect();
  assert.notEqual(pair.ab.keypairs.current, before);
});

Deno.test("an initiation of a key that is no peer gets no answer", () => {
  const stranger = new Host(99, endpoint("192.0.2.66", 6));
  const pair = new Pair();
  stranger.device.addPeer({ publicKey: pair.b.device.publicKey, endpoint: pair.b.address }, 0)
    .initiate(0);
  stranger.device.handleHandshakes(0, 1);
  pair.b.receive(take(stranger)[0]!);
  pair.b.device.handleHandshakes(0, 1);
  assert.equal(pair.b.device.counters.droppedBadInitiation, 1);
  assert.equal(pair.b.sent.length, 0);
});

Deno.test("silence: nothing without a valid mac1 or authentication is ever answered", () => {
  const pair = new Pair();
  pair.ab.initiate(0);
  pair.a.device.handleHandshakes(0, 1);
  const { bytes } = take(pair.a)[0]!;
  for (let i = 0; i < bytes.length; i++) {
    const wrong = bytes.slice();
    wrong[i]! ^= 0x10;
    pair.b.device.handleDatagram(wrong, 0, wrong.length, pair.a.address, 0);
  }
  while (pair.b.device.handleHandshakes(0, 100));
  // A flip in mac2 is not seen while there is no load; everything before it is.
  assert.equal(pair.b.sent.length, 1);
  assert.equal(pair.b.device.counters.droppedBadMac, 148 - 4 - 16);
  assert.equal(pair.b.device.counters.droppedReplayedInitiation, 15);
});

Deno.test("handshake indices are random: no two alike, no pattern a guess could use", () => {
  const pair = new Pair();
  const indices = new Set<number>();
  for (let i = 0; i < 40; i++) {
    pair.connect();
    pair.advance(6000);
    indices.add(pair.ab.keypairs.current!.localIndex).add(pair.ba.keypairs.current!.localIndex);
  }
  assert.equal(indices.size, 80);
  const sorted = [...indices].sort((x, y) => x - y);
  assert(sorted.at(-1)! - sorted[0]! > 2 ** 31, "spread over the whole range");
});

Deno.test("low-order public keys are accepted in a configuration and never sent a packet", () => {
  const pair = new Pair();
  const low = new Uint8Array(32);
  const peer = pair.a.device.addPeer({
    publicKey: low,
    allowedIps: [host(9)],
    endpoint: pair.b.address,
    persistentKeepalive: 1,
  }, 0);
  assert.equal(pair.a.send(ipv4Packet("10.0.0.1", "10.0.0.9")), SendResult.Staged);
  pair.advance(60_000);
  assert.equal(pair.a.sent.length, 0);
  assert(!peer.hasSession);
});

Deno.test("private keys are clamped on input", () => {
  const raw = new Uint8Array(32).fill(0xff);
  const clamped = raw.slice();
  clamped[0] = 0xf8;
  clamped[31] = 0x7f;
  const here = endpoint("192.0.2.1", 1);
  assert.deepEqual(
    new Host(1, here, { privateKey: raw }).device.publicKey,
    new Host(2, here, { privateKey: clamped }).device.publicKey,
  );
  assert.equal(raw[0], 0xff, "the caller's array is not touched");
});

Deno.test("the device's own key as a peer, a key twice, and what is out of range are refused", () => {
  const { a, ab } = new Pair();
  const add = (options: Parameters<typeof a.device.addPeer>[0]) => () =>
    a.device.addPeer(options, 0);
  const other = new Uint8Array(32).fill(3);
  assert.throws(add({ publicKey: a.device.publicKey }), TypeError);
  assert.throws(add({ publicKey: ab.publicKey }), TypeError);
  assert.throws(add({ publicKey: other.subarray(1) }), RangeError);
  assert.throws(add({ publicKey: other, presharedKey: other.subarray(1) }), RangeError);
  assert.throws(add({ publicKey: other, persistentKeepalive: 65_536 }), RangeError);
  assert.throws(
    add({ publicKey: other, allowedIps: [host(2), { address: new Uint8Array(4), length: 33 }] }),
    RangeError,
  );
  assert.equal([...a.device.peers()].length, 1);
  assert.deepEqual(ab.allowedIps, [host(2)], "a refused peer has taken nothing away");
});

Deno.test("roaming: the endpoint follows any authenticated packet, keepalives included", () => {
  const pair = new Pair().connect();
  const homes = [
    endpoint("198.51.100.7", 7),
    endpoint("198.51.100.7", 8),
    endpoint(
      new Uint8Array(16).fill(0x20),
      9,
    ),
  ];
  pair.ab.sendKeepalive(0);
  pair.b.receive(take(pair.a)[0]!, homes[0]);
  assert.equal(pair.ba.endpoint, homes[0], "keepalive");
  pair.aToB();
  pair.b.receive(take(pair.a)[0]!, homes[1]);
  assert.equal(pair.ba.endpoint, homes[1], "data");
  pair.bToA();
  assert.equal(take(pair.b)[0]!.to, homes[1], "answers go there");
  pair.advance(6000);
  pair.ab.initiate(pair.now);
  pair.a.device.handleHandshakes(pair.now, 1);
  pair.b.receive(take(pair.a)[0]!, homes[2]);
  pair.b.device.handleHandshakes(pair.now, 1);
  assert.equal(pair.ba.endpoint, homes[2], "initiation");
  pair.a.receive(take(pair.b)[0]!, homes[0]);
  pair.a.device.handleHandshakes(pair.now, 1);
  assert.equal(pair.ab.endpoint, homes[0], "response");
  assert.equal(pair.b.eventTypes().filter((type) => type === "endpoint-changed").length, 4);
});

Deno.test("roaming: a packet with an inner source that is not allowed moves the endpoint all the same", () => {
  const pair = new Pair().connect();
  const away = endpoint("198.51.100.7", 7);
  pair.a.send(ipv4Packet("10.9.9.9", "10.0.0.2"));
  pair.b.receive(take(pair.a)[0]!, away);
  assert.equal(pair.b.received.length, 0);
  assert.equal(pair.ba.endpoint, away);
});

Deno.test("roaming: nothing unauthenticated or replayed moves the endpoint", () => {
  const pair = new Pair().connect();
  const away = endpoint("198.51.100.7", 7);
  pair.aToB();
  const [datagram] = take(pair.a);
  const damaged = { ...datagram!, bytes: datagram!.bytes.slice() };
  damaged.bytes[20]! ^= 1;
  pair.b.receive(damaged, away);
  pair.b.receive(datagram!);
  pair.b.receive(datagram!, away);
  pair.b.receive(pair.a.sentOfType(INITIATION)[0]!, away);
  pair.b.device.handleHandshakes(0, 10);
  assert.equal(pair.ba.endpoint, pair.a.address);
});

Deno.test("a new private key: the next packet brings a handshake under it, at once", () => {
  const pair = new Pair().connect();
  pair.aToB();
  pair.settle();
  const oldPublic = pair.a.device.publicKey;
  pair.a.device.setPrivateKey(generatePrivateKey(seededRandom(4711)), 0);
  assert.notDeepEqual(pair.a.device.publicKey, oldPublic);
  pair.b.device.removePeer(pair.ba, 0);
  pair.b.device.addPeer({ publicKey: pair.a.device.publicKey, allowedIps: [host(1)] }, 0);
  assert.equal(pair.aToB(84, 5), SendResult.Staged);
  pair.settle();
  assert.deepEqual(pair.b.received.at(-1)!.bytes, ipv4Packet("10.0.0.1", "10.0.0.2", 84, 5));
});

Deno.test("a removed peer leaves no session, timer, staged packet or prefix behind", () => {
  const pair = new Pair({ a: { persistentKeepalive: 5 } }).connect();
  pair.aToB();
  const last = take(pair.a)[0]!;
  pair.b.device.removePeer(pair.ba, 0);
  pair.b.receive(last);
  assert.equal(pair.b.device.counters.droppedUnknownIndex, 1);
  assert.equal(pair.b.device.pollTimeout(), Infinity);
  assert.equal(pair.bToA(), SendResult.NoPeer);
  pair.a.device.close(0);
  assert.equal(pair.a.device.pollTimeout(), Infinity);
  assert.deepEqual([...pair.a.device.peers()], []);
});

Deno.test("a prefix given to another peer is no longer the first one's", () => {
  const pair = new Pair();
  const peer = pair.a.device.addPeer({
    publicKey: new Host(8, pair.a.address).device.publicKey,
    allowedIps: [host(2), host(3)],
  }, 0);
  assert.deepEqual(pair.ab.allowedIps, []);
  assert.deepEqual(peer.allowedIps, [host(2), host(3)]);
  peer.replaceAllowedIps([host(3), host(4)]);
  assert.deepEqual(peer.allowedIps, [host(3), host(4)]);
  assert.equal(peer.removeAllowedIp(host(2)), false);
  assert.equal(peer.removeAllowedIp(host(4)), true);
  assert.equal(pair.aToB(), SendResult.NoPeer);
});

Deno.test("a restarted peer is back with its first packet", () => {
  const server = new Host(2, endpoint("192.0.2.2", 2));
  const privateKey = generatePrivateKey(seededRandom(42));
  const address = endpoint("192.0.2.50", 50);
  for (let restart = 0; restart < 3; restart++) {
    const client = new Host(1000 + restart, address, { privateKey });
    if (restart === 0) {
      server.device.addPeer({ publicKey: client.device.publicKey, allowedIps: [host(50)] }, 0);
    }
    client.device.addPeer({
      publicKey: server.device.publicKey,
      allowedIps: [host(2)],
      endpoint: server.address,
    }, 0);
    const network = new Network([client, server]);
    network.advance(1000 * restart); // one clock for both; the server's never goes back
    client.send(ipv4Packet("10.0.0.50", "10.0.0.2", 84, restart));
    network.settle();
    assert.equal(server.received.length, restart + 1);
  }
});

Deno.test("an old initiation sent to a restarted responder gets nobody in, and keeps nobody out", () => {
  const pair = new Pair().connect();
  const old = pair.a.sentOfType(INITIATION)[0]!;
  pair.advance(1000);
  // The greatest timestamp is in no file: after a restart the first initiation is a new one.
  const again = new Host(1001, pair.b.address);
  assert.deepEqual(again.device.publicKey, pair.b.device.publicKey);
  const peer = again.device.addPeer({
    publicKey: pair.a.device.publicKey,
    allowedIps: [host(1)],
  }, pair.now);
  again.now = pair.now;
  pair.hosts.splice(pair.hosts.indexOf(pair.b), 1, again);
  again.receive(old, endpoint("203.0.113.6", 6));
  again.device.handleHandshakes(again.now, 1);
  assert(!peer.hasSession, "the replayer cannot confirm it");
  for (let i = 0; i < 20 && again.received.length === 0; i++) {
    pair.aToB();
    pair.advance(1000);
  }
  assert.equal(again.received.length > 0, true);
  assert.equal(peer.endpoint, pair.a.address);
});

Deno.test("initiations are done within the budget, and pollTimeout asks for another turn", () => {
  const hub = new Host(1, endpoint("192.0.2.1", 1));
  for (let i = 0; i < 10; i++) {
    const publicKey = new Host(100 + i, hub.address).device.publicKey;
    hub.device.addPeer({ publicKey, endpoint: endpoint("192.0.2.2", i) }, 0).initiate(0);
  }
  assert.equal(hub.device.pollTimeout(), 0);
  assert.equal(hub.device.handleHandshakes(0, 4), true);
  assert.equal(hub.sentOfType(INITIATION).length, 4);
  assert.equal(hub.device.handleHandshakes(0, 100), false);
  assert.equal(hub.sentOfType(INITIATION).length, 10);
  assert(hub.device.pollTimeout() >= 5000);
});

Deno.test("with a budget of one, initiations and arriving messages take turns", () => {
  const pair = new Pair();
  for (let i = 0; i < 6; i++) {
    const publicKey = new Host(100 + i, pair.b.address).device.publicKey;
    pair.b.device.addPeer({ publicKey, endpoint: endpoint("192.0.2.3", i) }, 0).initiate(0);
  }
  for (let i = 0; i < 6; i++) {
    pair.ab.lastSentHandshake = -Infinity;
    pair.ab.initiate(0);
    pair.a.device.handleHandshakes(0, 1);
    pair.b.receive(take(pair.a)[0]!);
  }
  for (let turn = 0; turn < 6; turn++) pair.b.device.handleHandshakes(0, 1);
  const { initiationsSent, responsesSent, droppedInitiationFlood } = pair.b.device.counters;
  assert.deepEqual([initiationsSent, responsesSent, droppedInitiationFlood], [3, 1, 2]);
});

Deno.test("an embedder may remove a peer from within any event; nothing of it is left", () => {
  for (const type of ["handshake-complete", "endpoint-changed", "handshake-retry"]) {
    const pair = new Pair({ b: { persistentKeepalive: 5 } });
    pair.b.events.push = (event) => {
      if (event.type === type) pair.b.device.removePeer(event.peer!, pair.now);
      return 0;
    };
    pair.aToB();
    if (type === "handshake-retry") {
      pair.ba.setEndpoint(pair.a.address);
      pair.filter = () => false;
    }
    pair.advance(20_000);
    assert.deepEqual([...pair.b.device.peers()], [], type);
    assert.equal(pair.b.device.pollTimeout(), Infinity, type);
    assert.equal(pair.b.received.length, 0, type);
  }
});

Deno.test("a packet staged just after a response was sent gets its own initiation 5 s later, no retry", () => {
  const pair = new Pair({ timers: { rekeyJitterMs: 0 } });
  pair.filter = (d) => d.type !== RESPONSE; // the initiator never hears of the session
  pair.ab.initiate(0);
  pair.settle();
  assert.equal(pair.bToA(), SendResult.Staged);
  pair.filter = (d) =>
    d.to === pair.a.address && d.type === INITIATION || d.from === pair.a.address;
  pair.a.device.removePeer(pair.ab, 0);
  pair.advance(5_000);
  assert.deepEqual(pair.b.sentOfType(INITIATION).map((d) => d.sentAt), [5000]);
  assert(!pair.b.eventTypes().includes("handshake-retry"));
});

Deno.test("a response to no initiation, or a second one, changes nothing", () => {
  const pair = new Pair().connect();
  const response = pair.b.sentOfType(RESPONSE)[0]!;
  const key = pair.ab.keypairs.current;
  pair.a.receive(response);
  pair.a.device.handleHandshakes(0, 1);
  assert.equal(pair.a.device.counters.droppedUnknownIndex, 1);
  assert.equal(pair.ab.keypairs.current, key);
});
