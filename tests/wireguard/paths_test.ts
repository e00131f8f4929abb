/** Several paths to one peer: probes, roaming that its owner decides, handshakes by another path. */

import assert from "node:assert/strict";
import fc from "fast-check";
import type { PeerPaths, Sender } from "../../wireguard/mod.ts";
import { PROBE_SIZE, probeId, probeKind, writeProbe } from "../../wireguard/probe.ts";
import { type Datagram, endpoint, Pair } from "./pair.ts";

const INITIATION = 1;
const RESPONSE = 2;
const DATA = 4;
/** Other ways between `a` and `b`; nobody but these tests carries what goes there. */
const A2 = endpoint("198.51.100.1", 2001);
const B2 = endpoint("198.51.100.2", 2002);

/** Writes down what it is told, and decides as it is told to. */
class Owner implements PeerPaths {
  readonly told: string[] = [];
  moves = false;

  trafficBegan(isKeepalive: boolean): void {
    this.told.push(isKeepalive ? "keepalive" : "traffic");
  }
  heardElsewhere(from: Sender): boolean {
    this.told.push(`heard ${from.toEndpoint()}`);
    return this.moves;
  }
  handshakeAnswered(from: Sender): void {
    this.told.push(`handshake ${from.toEndpoint()}`);
  }
  probeAnswered(from: Sender, id: number): void {
    this.told.push(`answer ${id} ${from.toEndpoint()}`);
  }
  take(): string[] {
    return this.told.splice(0);
  }
}

function owned() {
  const pair = new Pair();
  const owner = new Owner();
  pair.ab.paths = owner;
  pair.connect();
  owner.take();
  return { pair, owner };
}

/** What was sent last. */
const last = (datagrams: readonly Datagram[]) => datagrams.at(-1)!;

Deno.test("a probe is answered where it came from, and moves nobody", () => {
  const { pair, owner } = owned();
  const { a, b } = pair;
  assert.equal(pair.ab.probe(B2, 7, false, 0), true);
  const question = last(a.sent);
  assert.equal(question.to, B2);
  assert.equal(question.bytes.length, 48);
  b.receive(question, A2);
  const answer = last(b.sent);
  assert.equal(answer.to, A2);
  assert.equal(pair.ba.endpoint, a.address, "a has not moved");
  a.receive(answer, B2);
  assert.deepEqual(owner.take(), [`heard ${B2}`, `answer 7 ${B2}`]);
  assert.equal(pair.ab.endpoint, b.address);
  assert.equal(b.received.length + a.received.length, 0, "no packet comes of it");
  assert.equal(b.device.counters.droppedInnerMalformed, 0);
  assert.deepEqual([b.device.counters.probesReceived, b.device.counters.probesSent], [1, 1]);
});

Deno.test("a claim moves the peer, by which it is answered too", () => {
  const { pair } = owned();
  pair.ab.probe(B2, 1, true, 0);
  pair.b.receive(last(pair.a.sent), A2);
  assert.equal(pair.ba.endpoint, A2);
  assert.equal(last(pair.b.sent).to, A2);
});

Deno.test("an answer that nobody owns, and any other data of 16 bytes, changes nothing", () => {
  const pair = new Pair().connect();
  pair.ba.probe(pair.a.address, 5, false, 0);
  pair.settle();
  assert.equal(pair.b.device.counters.probesReceived, 1, "b takes its answer");
  const bytes = new Uint8Array(32);
  fc.assert(fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (inner) => {
    bytes.set(inner, 8);
    const kind = probeKind(bytes, 8, 16);
    if (kind === 0) return;
    assert.deepEqual([...inner.subarray(0, 4)], [0, 0x77, 0x61, 0x79]);
  }));
  for (const length of [0, 15, 17]) assert.equal(probeKind(bytes, 8, length), 0);
  fc.assert(fc.property(fc.integer({ min: 1, max: 3 }), fc.nat(2 ** 32 - 1), (kind, id) => {
    writeProbe(bytes, 8, kind, id);
    assert.deepEqual([probeKind(bytes, 8, PROBE_SIZE), probeId(bytes, 8)], [kind, id]);
  }));
  for (const kind of [0, 4, 255]) {
    writeProbe(bytes, 8, kind, 1);
    assert.equal(probeKind(bytes, 8, PROBE_SIZE), 0);
  }
});

Deno.test("without a session nothing can be asked", () => {
  const pair = new Pair();
  assert.equal(pair.ab.probe(B2, 1, false, 0), false);
  pair.connect();
  pair.advance(180_000);
  assert.equal(pair.ab.probe(B2, 1, false, pair.now), false, "nor under one that is too old");
});

Deno.test("probes are no data: no keepalive answers them, no handshake follows them", () => {
  const { pair } = owned();
  pair.ab.probe(pair.b.address, 1, false, 0);
  pair.settle();
  const { sent } = pair.b;
  const before = [pair.a.sent.length, sent.length];
  pair.filter = () => false;
  pair.ab.probe(pair.b.address, 2, false, 0);
  pair.advance(30_000);
  assert.deepEqual([pair.a.sent.length - 1, sent.length], before);
});

Deno.test("a probe by another path does not stand for the keepalive that is due on this one", () => {
  const { pair } = owned();
  pair.bToA();
  pair.settle();
  pair.advance(5_000);
  pair.ab.probe(B2, 1, false, pair.now);
  const sent = pair.a.sentOfType(DATA).length;
  pair.advance(5_000);
  assert.equal(pair.a.sentOfType(DATA).length, sent + 1, "ten seconds after the data");
  assert.equal(last(pair.a.sent).to, pair.b.address);
});

Deno.test("the owner decides whether a peer moves where it is heard", () => {
  const { pair, owner } = owned();
  pair.bToA();
  pair.a.receive(pair.b.outbox.pop()!, B2);
  assert.equal(pair.ab.endpoint, pair.b.address);
  owner.moves = true;
  pair.bToA();
  pair.a.receive(pair.b.outbox.pop()!, B2);
  assert.equal(pair.ab.endpoint, B2);
  assert.deepEqual(pair.a.eventTypes().slice(-1), ["endpoint-changed"]);
  pair.bToA();
  pair.a.receive(pair.b.outbox.pop()!, B2);
  assert.deepEqual(owner.take(), [`heard ${B2}`, `heard ${B2}`], "not where it is already");
  assert.equal(pair.a.received.length, 3, "all of them arrive");
});

Deno.test("what was overtaken by another path does not move a peer back", () => {
  const pair = new Pair().connect();
  pair.aToB();
  pair.aToB();
  const [early, late] = pair.a.outbox.splice(0);
  pair.b.receive(late!, A2);
  assert.equal(pair.ba.endpoint, A2);
  pair.b.receive(early!, pair.a.address);
  assert.equal(pair.ba.endpoint, A2);
  assert.equal(pair.b.received.length, 2);
  // Under an older key neither, once something has come under the new one.
  pair.aToB();
  const old = pair.a.outbox.pop()!;
  pair.advance(10_000);
  pair.ab.initiate(pair.now);
  pair.settle();
  assert.equal(pair.ba.endpoint, pair.a.address, "the new one is heard there");
  pair.b.receive(old, A2);
  assert.equal(pair.ba.endpoint, pair.a.address);
  assert.equal(pair.b.received.length, 3);
});

Deno.test("a peer whose new key is not heard yet is found under the old one", () => {
  const pair = new Pair().connect();
  pair.advance(10_000);
  pair.ba.initiate(pair.now); // so that b has a new key, and a does not send under it yet
  pair.filter = ({ from, type }) => !(from === pair.b.address && type === DATA);
  pair.settle();
  pair.aToB();
  pair.b.receive(pair.a.outbox.pop()!, A2);
  assert.equal(pair.ba.endpoint, A2);
});

Deno.test("a handshake by another path is answered there, and does not wait for the last", () => {
  const { pair, owner } = owned();
  const { a, b } = pair;
  pair.advance(100);
  owner.take();
  pair.ab.initiateTo(B2);
  a.device.handleHandshakes(pair.now, 1);
  const initiation = last(a.sentOfType(INITIATION));
  assert.equal(initiation.to, B2);
  assert.equal(pair.ab.endpoint, b.address);
  b.handle(initiation, A2);
  assert.equal(pair.ba.endpoint, A2, "an initiation moves its sender");
  const response = last(b.sentOfType(RESPONSE));
  assert.equal(response.to, A2);
  a.handle(response, B2);
  assert.deepEqual(owner.take(), [`heard ${B2}`, `handshake ${B2}`]);
  assert.equal(pair.ab.endpoint, b.address, "a stays where its owner has it");
  a.outbox.length = b.outbox.length = 0;
  // The next goes where the peer is, and no earlier than five seconds later.
  pair.ab.initiate(pair.now);
  const count = a.sentOfType(INITIATION).length;
  pair.settle();
  assert.equal(a.sentOfType(INITIATION).length, count);
  pair.advance(6_000);
  assert.equal(a.sentOfType(INITIATION).length, count + 1);
  assert.equal(last(a.sentOfType(INITIATION)).to, b.address);
});

Deno.test("an initiation from elsewhere is answered there, though the owner does not move", () => {
  const pair = new Pair();
  pair.connect();
  pair.ba.paths = new Owner();
  pair.advance(6_000);
  pair.ab.initiateTo(B2);
  pair.a.device.handleHandshakes(pair.now, 1);
  pair.b.handle(last(pair.a.sent), A2);
  assert.equal(last(pair.b.sent).to, A2);
  assert.equal(pair.ba.endpoint, pair.a.address);
});

Deno.test("traffic that should be answered is told of once, when it was asked for", () => {
  const { pair, owner } = owned();
  pair.aToB();
  pair.settle();
  pair.bToA();
  pair.settle();
  assert.deepEqual(owner.take(), [], "nobody asked");
  assert.equal(pair.ab.unansweredSince, Infinity);
  pair.ab.awaitTraffic();
  assert.deepEqual(owner.take(), []);
  pair.aToB();
  pair.aToB();
  assert.deepEqual(owner.take(), ["traffic"]);
  assert.equal(pair.ab.unansweredSince, pair.now);
  pair.settle();
  pair.advance(300);
  pair.aToB();
  assert.equal(pair.ab.unansweredSince, pair.now - 300, "since the first of it");
  pair.bToA();
  pair.settle();
  assert.equal(pair.ab.unansweredSince, Infinity);
  assert.deepEqual(owner.take(), []);
});

Deno.test("an initiation and a persistent keepalive are traffic as well", () => {
  const pair = new Pair({ a: { persistentKeepalive: 25 } });
  const owner = new Owner();
  pair.ab.paths = owner;
  pair.ab.awaitTraffic();
  pair.advance(0);
  assert.deepEqual(owner.take().slice(0, 1), ["keepalive"], "the first");
  const other = new Pair();
  other.ab.paths = owner;
  other.ab.awaitTraffic();
  other.connect();
  assert.deepEqual(owner.take().slice(0, 1), ["traffic"]);
  pair.ab.awaitTraffic();
  pair.advance(20_000);
  assert.deepEqual(owner.take(), []);
  pair.advance(6_000);
  assert.deepEqual(owner.take(), ["keepalive"]);
});

Deno.test("a question to where the peer is stands for the keepalive that it puts off: no other, and no answer", () => {
  const { pair, owner } = owned();
  const here = pair.ab.endpoint!;
  pair.ab.awaitTraffic();
  pair.ab.probe(B2, 1, false, 0);
  pair.ba.probe(pair.ba.endpoint!, 2, false, 0);
  pair.a.receive(last(pair.b.sent), pair.b.address);
  assert.equal(pair.a.device.counters.probesSent, 2, "it has answered");
  assert.deepEqual(owner.take(), []);
  pair.ab.probe(here, 3, false, 0);
  pair.ab.probe(here, 4, true, 0);
  assert.deepEqual(owner.take(), ["keepalive"], "once");
});
