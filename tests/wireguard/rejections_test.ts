/** Handshakes that fail are told, for the log, with their reason; a few per second. */

import assert from "node:assert/strict";
import { writeMAC } from "../../wireguard/hash.ts";
import type { Rejection, RejectionReason } from "../../wireguard/mod.ts";
import { mac1KeyOf } from "./mac1.ts";
import { isHostsOwn } from "../../wireguard/inner.ts";
import { type Datagram, endpoint, Host, host, ipv4Packet, Pair, v4 } from "./pair.ts";

function rejections(of: Host): Rejection[] {
  return of.events.filter((event) => event.type === "handshake-rejected");
}

function initiation(pair: Pair): Datagram {
  pair.ab.lastSentHandshake = -Infinity;
  pair.ab.initiate(pair.now);
  pair.a.device.handleHandshakes(pair.now, 1);
  return pair.a.outbox.splice(0)[0]!;
}

/** Damages a byte and puts a right mac1 on it again. */
function forge(datagram: Datagram, at: number, to: Host): Datagram {
  const bytes = datagram.bytes.slice();
  bytes[at]! ^= 1;
  const mac1 = bytes.length - 32;
  writeMAC(mac1KeyOf(to.device.publicKey), bytes, 0, mac1, bytes, mac1);
  return { ...datagram, bytes };
}

function handled(host: Host, ...datagrams: Datagram[]): Rejection[] {
  const before = rejections(host).length;
  for (const datagram of datagrams) {
    host.receive(datagram);
    while (host.device.handleHandshakes(host.now, 100));
  }
  return rejections(host).slice(before);
}

Deno.test("every reason has its name, with the peer where one is known", () => {
  const reasons: [RejectionReason, boolean][] = [];
  const note = (rejected: Rejection[]) => {
    assert.equal(rejected.length, 1);
    reasons.push([rejected[0]!.reason, rejected[0]!.peer !== undefined]);
  };
  const pair = new Pair();
  const first = initiation(pair);
  note(handled(pair.b, forge(first, 50, pair.b)));
  note(handled(pair.b, forge(first, 90, pair.b)));

  const second = initiation(pair);
  handled(pair.b, second);
  const [response] = pair.b.outbox.splice(0);
  note(handled(pair.b, first)); // comes after the second
  note(handled(pair.a, forge(response!, 50, pair.a)));
  note(handled(pair.b, initiation(pair)));

  pair.advance(5000);
  pair.b.device.removePeer(pair.ba, pair.now);
  const [unknown] = handled(pair.b, initiation(pair));
  note([unknown!]);
  assert.deepEqual(unknown!.publicKey, pair.a.device.publicKey);
  assert.equal(unknown!.from, pair.a.address);

  assert.deepEqual(reasons, [
    ["bad-initiation", false],
    ["forged-initiation", true],
    ["old-timestamp", true],
    ["bad-response", true],
    ["flood", true],
    ["unknown-key", false],
  ]);
});

Deno.test("different preshared keys: the initiator is told that the answer does not authenticate", () => {
  const pair = new Pair({ a: { presharedKey: new Uint8Array(32).fill(1) } });
  pair.ab.initiate(0);
  pair.settle();
  assert.deepEqual(rejections(pair.a).map(({ reason, peer }) => [reason, peer]), [
    ["bad-response", pair.ab],
  ]);
});

Deno.test("of a flood a burst of 5 and one per second are told, with the number of the others", () => {
  const hub = new Host(1, endpoint("192.0.2.1", 1));
  const stranger = new Host(2, endpoint("192.0.2.2", 2));
  const peer = stranger.device.addPeer({
    publicKey: hub.device.publicKey,
    allowedIps: [host(1)],
    endpoint: hub.address,
  }, 0);
  for (let i = 0; i < 30; i++) {
    stranger.now = hub.now = i * 110;
    peer.lastSentHandshake = -Infinity;
    peer.initiate(stranger.now);
    stranger.device.handleHandshakes(stranger.now, 1);
    hub.receive(stranger.outbox.splice(0)[0]!);
    hub.device.handleHandshakes(hub.now, 1);
  }
  const suppressed = rejections(hub).map((rejection) => rejection.suppressed);
  assert.deepEqual(suppressed, [0, 0, 0, 0, 0, 5, 8, 8]);
  assert.equal(hub.device.counters.droppedBadInitiation, 30);
});

Deno.test("different preshared keys: the responder is told with the third answer that nobody confirms, once a minute", () => {
  const pair = new Pair({ a: { presharedKey: new Uint8Array(32).fill(1) } });
  const told = () => pair.b.events.filter((event) => event.type === "handshake-unconfirmed");
  pair.ab.setPersistentKeepalive(5, 0);
  pair.advance(9_900);
  assert.deepEqual(told(), []);
  pair.advance(5_000);
  assert.deepEqual(told(), [{ type: "handshake-unconfirmed", peer: pair.ba, answers: 3 }]);
  pair.advance(45_000);
  assert.equal(told().length, 1);
  pair.advance(60_000);
  assert.equal(told().length, 2);
  pair.ba.setPresharedKey(new Uint8Array(32).fill(1));
  pair.advance(30_000);
  assert.equal(pair.ba.hasSession, true);
  pair.b.events.length = 0;
  pair.advance(3_600_000);
  assert.deepEqual(told(), [], "sessions that are confirmed say nothing");
});

Deno.test("a packet from an address that is not the peer's is told with the address, once a minute", () => {
  const pair = new Pair({ a: { allowedIps: [{ address: new Uint8Array(4), length: 0 }] } });
  pair.connect();
  const told = () => pair.b.events.filter((event) => event.type === "source-rejected");
  const send = (source: string) => {
    pair.a.send(ipv4Packet(source, "10.0.0.9"));
    pair.settle();
  };
  for (const own of ["0.0.0.0", "169.254.1.1"]) send(own);
  assert.equal(pair.b.device.counters.droppedInnerSource, 2);
  assert.deepEqual(told(), [], "hosts send from these by themselves");
  for (let i = 0; i < 4; i++) send("10.0.0.7");
  assert.deepEqual(told(), [
    { type: "source-rejected", peer: pair.ba, address: v4("10.0.0.7"), suppressed: 0 },
  ]);
  pair.advance(59_999);
  send("10.0.0.8");
  assert.equal(told().length, 1);
  pair.advance(1);
  send("10.0.0.9");
  assert.deepEqual(told()[1], {
    type: "source-rejected",
    peer: pair.ba,
    address: v4("10.0.0.9"),
    suppressed: 4,
  });
});

Deno.test("link-local and unspecified IPv6 sources are a host's own", () => {
  const own = (...bytes: number[]) => {
    const address = new Uint8Array(17);
    address.set(bytes, 1);
    return isHostsOwn(address, 1, 6);
  };
  assert.equal(own(), true);
  assert.equal(own(0xfe, 0x80), true);
  assert.equal(own(0xfe, 0xbf, 1), true);
  assert.equal(own(0xfe, 0xc0), false);
  assert.equal(own(0xfd), false);
  assert.equal(own(0, 0, 1), false);
});
