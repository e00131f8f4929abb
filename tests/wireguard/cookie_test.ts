/** Under load (§5.3, §5.4.7): cookies, their binding to address and port, and the queue. */

import assert from "node:assert/strict";
import { CookieChecker, CookieGenerator } from "../../wireguard/cookie.ts";
import { HANDSHAKE_QUEUE_LIMIT, HandshakeQueue, LOADED } from "../../wireguard/handshake_queue.ts";
import { type Datagram, endpoint, type Host, Pair, seededRandom, stranger } from "./pair.ts";

const RESPONSE = 2, COOKIE_REPLY = 3;

/** Puts `b` under load with genuine-looking messages, each from somebody else. */
function flood(pair: Pair, sample: Datagram, count = LOADED): void {
  for (let i = 0; i < count; i++) pair.b.receive(sample, stranger(i));
}

/** An initiation of `a`, not delivered. */
function initiation(pair: Pair): Datagram {
  pair.ab.lastSentHandshake = -Infinity;
  pair.ab.initiate(pair.now);
  pair.a.device.handleHandshakes(pair.now, 1);
  return pair.a.outbox.splice(0)[0]!;
}

function drain(host: Host): Datagram[] {
  while (host.device.handleHandshakes(host.now, 1000));
  return host.outbox.splice(0);
}

Deno.test("under load a message without mac2 gets a cookie reply, and with the cookie a response", () => {
  const pair = new Pair();
  const first = initiation(pair);
  flood(pair, first);
  pair.b.receive(first);
  const replies = drain(pair.b);
  assert.equal(replies.length, LOADED + 1);
  assert(replies.every((d) => d.type === COOKIE_REPLY && d.bytes.length === 64));
  const reply = replies.at(-1)!;
  assert.equal(reply.to, pair.a.address);
  assert.equal(pair.b.device.counters.initiationsReceived, 0);

  pair.a.handle(reply);
  assert.equal(pair.a.device.counters.cookieRepliesReceived, 1);
  pair.advance(500); // still under load: sticky for a second
  const second = initiation(pair);
  assert(second.bytes.subarray(132).some((byte) => byte !== 0), "mac2");
  pair.b.receive(second);
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
});

Deno.test("load ends a second after the queue was last an eighth full", () => {
  const pair = new Pair();
  flood(pair, initiation(pair));
  drain(pair.b);
  pair.advance(999);
  pair.b.receive(initiation(pair));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [COOKIE_REPLY]);
  pair.advance(1);
  pair.b.receive(initiation(pair));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
});

Deno.test("load goes on with every burst, though the queue was empty in between", () => {
  const pair = new Pair();
  for (let i = 0; i < 3; i++) {
    flood(pair, initiation(pair));
    drain(pair.b);
    pair.advance(900);
    pair.b.receive(initiation(pair), endpoint("192.0.2.1", 5000 + i));
    assert.deepEqual(drain(pair.b).map((d) => d.type), [COOKIE_REPLY]);
  }
});

Deno.test("who has a young cookie of a secret that has died gets another, and is in with that", () => {
  const pair = new Pair();
  const isCookie = (d: Datagram) => d.type === COOKIE_REPLY && d.to === pair.a.address;
  const load = () => {
    flood(pair, initiation(pair));
    drain(pair.b);
  };
  load(); // the secret is born
  pair.advance(119_000);
  load();
  pair.b.receive(initiation(pair));
  pair.a.handle(drain(pair.b).find(isCookie)!);
  pair.b.receive(initiation(pair));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
  pair.advance(2_000); // the cookie would be good for 113 s, and the secret is gone
  load();
  pair.b.receive(initiation(pair));
  const replies = drain(pair.b);
  assert(replies.every(isCookie) && replies.length === 1);
  pair.a.handle(replies[0]!);
  pair.b.receive(initiation(pair));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
});

Deno.test("below an eighth of the queue there is no load", () => {
  const pair = new Pair();
  flood(pair, initiation(pair), LOADED - 1);
  assert.deepEqual(new Set(drain(pair.b).map((d) => d.type)), new Set([RESPONSE]));
});

Deno.test("a cookie is bound to the address and to the port", () => {
  const pair = new Pair();
  const first = initiation(pair);
  flood(pair, first);
  pair.b.receive(first);
  pair.a.handle(drain(pair.b).at(-1)!);
  const second = initiation(pair);
  const { address, port } = pair.a.address;
  for (const elsewhere of [endpoint(address, port + 1), endpoint("192.0.2.77", port)]) {
    pair.b.receive(second, elsewhere);
    assert.deepEqual(drain(pair.b).map((d) => d.type), [COOKIE_REPLY]);
  }
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff, ...address], 10);
  pair.b.receive(second, endpoint(mapped, port));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE], "IPv4-mapped is the same address");
});

Deno.test("under load each source with a cookie has its 20 per second, whatever others do", () => {
  const pair = new Pair();
  const first = initiation(pair);
  flood(pair, first);
  pair.b.receive(first);
  pair.a.handle(drain(pair.b).at(-1)!);
  for (let i = 0; i < 100; i++) pair.b.receive(initiation(pair));
  drain(pair.b);
  assert.equal(pair.b.device.counters.droppedRateLimited, 95);
  assert.equal(pair.b.device.counters.initiationsReceived, 1);
});

Deno.test("a cookie reply does not move the endpoint, and must answer a message of ours and be genuine", () => {
  const pair = new Pair();
  const first = initiation(pair);
  flood(pair, first);
  pair.b.receive(first);
  const reply = drain(pair.b).at(-1)!;
  const away = endpoint("198.51.100.7", 7);
  const damaged = { ...reply, bytes: reply.bytes.slice() };
  damaged.bytes[40]! ^= 1;
  pair.a.handle(damaged, away);
  assert.equal(pair.a.device.counters.droppedBadCookie, 1);
  pair.a.handle(reply, away);
  assert.equal(pair.a.device.counters.cookieRepliesReceived, 1);
  assert.equal(pair.ab.endpoint, pair.b.address);
  pair.a.handle(reply, away);
  assert.equal(pair.a.device.counters.droppedBadCookie, 2, "one reply per message sent");
  assert.equal(pair.a.device.counters.droppedUnknownIndex, 0);
});

Deno.test("cookie replies wait for their turn, sixteen to a handshake, and no more than the queue takes", () => {
  const pair = new Pair();
  const first = initiation(pair);
  flood(pair, first);
  pair.b.receive(first);
  const reply = drain(pair.b).at(-1)!;
  const damaged = { ...reply, bytes: reply.bytes.slice() };
  damaged.bytes[40]! ^= 1;
  const { counters } = pair.a.device;
  for (let i = 0; i < 40; i++) pair.a.receive(damaged);
  assert.equal(counters.droppedBadCookie, 0, "nothing is decrypted while datagrams are drained");
  assert.equal(pair.a.device.pollTimeout(), 0);
  for (const done of [16, 32, 40]) {
    assert.equal(pair.a.device.handleHandshakes(pair.now, 1), done < 40);
    assert.equal(counters.droppedBadCookie, done);
  }
  for (let i = 0; i < HANDSHAKE_QUEUE_LIMIT + 3; i++) pair.a.receive(damaged);
  assert.equal(counters.droppedQueueFull, 3);
  drain(pair.a);
  pair.a.handle(reply);
  assert.equal(counters.cookieRepliesReceived, 1);
});

Deno.test("a response is subject to the same: the responder that gets a cookie uses it", () => {
  const pair = new Pair();
  const response = (() => {
    pair.b.receive(initiation(pair));
    return drain(pair.b)[0]!;
  })();
  for (let i = 0; i < LOADED; i++) pair.a.receive(response, stranger(i));
  pair.a.receive(response);
  const replies = drain(pair.a);
  assert.equal(replies.at(-1)!.type, COOKIE_REPLY);
  assert.equal(replies.at(-1)!.to, pair.b.address);
  assert(!pair.ab.hasSession);
  pair.b.handle(replies.at(-1)!);
  assert.equal(pair.b.device.counters.cookieRepliesReceived, 1);
  pair.advance(100);
  pair.b.receive(initiation(pair));
  const next = drain(pair.b).findLast((d) => d.type === RESPONSE)!;
  assert(next.bytes.subarray(76).some((byte) => byte !== 0));
});

Deno.test("the queue is bounded; a valid message beyond its limit is dropped and counted", () => {
  const pair = new Pair();
  flood(pair, initiation(pair), HANDSHAKE_QUEUE_LIMIT + 10);
  assert.equal(pair.b.device.counters.droppedQueueFull, 10);
});

Deno.test("garbage without a valid mac1 never fills the queue, so it cannot bring the load about", () => {
  const pair = new Pair();
  const first = initiation(pair);
  const garbage = { ...first, bytes: first.bytes.slice() };
  garbage.bytes[120]! ^= 1;
  flood(pair, garbage, 2 * LOADED);
  assert.equal(pair.b.device.counters.droppedBadMac, 2 * LOADED);
  pair.b.receive(first);
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
});

Deno.test("cookies die with their secret after 120 s; the sender stops 5 s earlier", () => {
  const publicKey = new Uint8Array(32).fill(5);
  const checker = new CookieChecker(publicKey, seededRandom(1), 120_000);
  const generator = new CookieGenerator(publicKey, 120_000);
  const from = endpoint("192.0.2.1", 1);
  const message = new Uint8Array(148);
  const reply = new Uint8Array(64);
  const mac2At = (now: number) => {
    generator.addMacs(message, 148, now);
    return checker.checkMac2(message, 0, 148, from, now);
  };
  assert.equal(mac2At(0), false);
  checker.writeReply(message, 0, 148, from, reply, 0);
  assert(generator.handleReply(reply, 0, 0));
  assert.equal(mac2At(0), true);
  assert.equal(mac2At(114_999), true);
  generator.addMacs(message, 148, 114_999);
  assert.equal(checker.checkMac2(message, 0, 148, from, 119_999), true);
  assert.equal(checker.checkMac2(message, 0, 148, from, 120_000), false);
  assert.equal(mac2At(115_000), false);
  assert(message.subarray(132).every((byte) => byte === 0));
});

Deno.test("the same cookie is not sealed with the same nonce twice", () => {
  const publicKey = new Uint8Array(32).fill(5);
  const checker = new CookieChecker(publicKey, seededRandom(1), 120_000);
  const seen = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const reply = new Uint8Array(64);
    checker.writeReply(new Uint8Array(148), 0, 148, endpoint("192.0.2.1", 1), reply, 0);
    seen.add(String(reply.subarray(8, 32)));
  }
  assert.equal(seen.size, 20);
});

Deno.test("the queue keeps order while it grows and goes around", () => {
  const queue = new HandshakeQueue(1000);
  const from = endpoint("192.0.2.1", 1);
  let [pushed, shifted] = [0, 0];
  const push = () => {
    const message = new Uint8Array(92);
    new DataView(message.buffer).setUint32(0, pushed);
    if (queue.push(message, 0, 92, from)) pushed++;
  };
  const shift = () => {
    assert.equal(new DataView(queue.buffer.buffer).getUint32(queue.offset), shifted++);
    assert.equal(queue.length, 92);
    assert.equal(queue.from, from);
    queue.shift();
  };
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 50 + round; i++) push();
    for (let i = 0; i < 50; i++) shift();
  }
  while (queue.size > 0) shift();
  assert.equal(shifted, pushed);
  assert.equal(queue.isUnderLoad(0), false);
});
