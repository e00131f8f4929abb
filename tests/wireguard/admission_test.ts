/** Who may cost a device a handshake: replays, sources that keep failing, and the caps on answers. */

import assert from "node:assert/strict";
import {
  COOKIE_REPLIES_PER_SECOND,
  COOKIE_REPLIES_PER_SOURCE,
  CROWDED,
} from "../../wireguard/admission.ts";
import { HANDSHAKE_QUEUE_LIMIT, LOADED } from "../../wireguard/handshake_queue.ts";
import { writeMAC } from "../../wireguard/hash.ts";
import { type Crypto, nobleCrypto } from "../../wireguard/mod.ts";
import { SourceMeter } from "../../wireguard/source_meter.ts";
import { TokenBucket } from "../../wireguard/token_bucket.ts";
import { mac1KeyOf } from "./mac1.ts";
import { type Datagram, endpoint, Host, Pair, seededRandom, stranger } from "./pair.ts";

const RESPONSE = 2, COOKIE_REPLY = 3;

/** An initiation of `a`, not delivered. */
function initiation(pair: Pair): Datagram {
  pair.ab.lastSentHandshake = -Infinity;
  pair.ab.initiate(pair.now);
  pair.a.device.handleHandshakes(pair.now, 1);
  return pair.a.outbox.splice(0)[0]!;
}

/** One of `b`, not delivered. */
function initiationOfB(pair: Pair): Datagram {
  pair.ba.setEndpoint(pair.a.address);
  pair.ba.lastSentHandshake = -Infinity;
  pair.ba.initiate(pair.now);
  pair.b.device.handleHandshakes(pair.now, 1);
  return pair.b.outbox.splice(0)[0]!;
}

/** Nonsense with a right mac1, as whoever knows the public key can write it. */
function nonsense(to: Host, seed: number): Datagram {
  const bytes = new Uint8Array(148);
  seededRandom(seed)(bytes);
  bytes.set([1, 0, 0, 0]);
  bytes.fill(0, 132);
  writeMAC(mac1KeyOf(to.device.publicKey), bytes, 0, 116, bytes, 116);
  return { bytes, from: endpoint("203.0.113.9", 9), to: to.address, sentAt: 0, type: 1 };
}

function drain(host: Host): Datagram[] {
  while (host.device.handleHandshakes(host.now, 1000));
  return host.outbox.splice(0);
}

/** Counts what is dear. */
function counting(): { crypto: Crypto; count: () => number } {
  let count = 0;
  const { x25519, aead } = nobleCrypto;
  return {
    count: () => count,
    crypto: {
      aead,
      x25519: {
        publicKey: x25519.publicKey,
        sharedSecret(privateKey, publicKey) {
          count++;
          return x25519.sharedSecret(privateKey, publicKey);
        },
      },
    },
  };
}

Deno.test("a replayed initiation costs no Diffie-Hellman and does not even wait in the queue", () => {
  const { crypto, count } = counting();
  const pair = new Pair({ crypto });
  const first = initiation(pair);
  pair.b.receive(first);
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
  const before = count();
  for (let i = 0; i < 2 * HANDSHAKE_QUEUE_LIMIT; i++) {
    pair.b.receive(first, endpoint("203.0.113.1", 1 + i % 60000));
    assert.equal(pair.b.device.pollTimeout() > 0, true, "nothing waits");
  }
  assert.deepEqual(drain(pair.b), []);
  assert.equal(count(), before);
  assert.equal(pair.b.device.counters.droppedReplayedInitiation, 2 * HANDSHAKE_QUEUE_LIMIT);
  assert.equal(pair.ba.endpoint, pair.a.address);
  // Nobody else notices: no load, no cookie.
  pair.b.receive(initiation(pair));
  pair.advance(1000);
  assert.equal(pair.b.device.counters.cookieRepliesSent, 0);
});

Deno.test("copies that wait together cost one handshake", () => {
  const { crypto, count } = counting();
  const pair = new Pair({ crypto });
  const first = initiation(pair);
  for (let i = 0; i < LOADED - 1; i++) pair.b.receive(first, stranger(i));
  const before = count();
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
  assert.equal(count() - before, 4, "es, ss, ee, se");
});

Deno.test("a replay that has been pushed out of memory is still a replay", () => {
  const pair = new Pair();
  const first = initiation(pair);
  pair.b.receive(first);
  drain(pair.b);
  const second = initiation(pair);
  pair.advance(1000);
  // One with the same slot: the lower eleven bits of mac1.
  const slot = slotOf(first);
  let other = nonsense(pair.b, 1);
  for (let seed = 2; slotOf(other) !== slot; seed++) other = nonsense(pair.b, seed);
  pair.b.receive(other);
  pair.b.receive(first);
  assert.deepEqual(drain(pair.b), []);
  const { droppedReplayedInitiation, droppedBadInitiation } = pair.b.device.counters;
  assert.deepEqual([droppedReplayedInitiation, droppedBadInitiation], [1, 1]);
  pair.b.receive(second);
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
});

function slotOf({ bytes }: Datagram): number {
  return (bytes[116]! | bytes[117]! << 8) & 2047;
}

Deno.test("a source has one message in a queue that begins to fill; nobody else is asked for a cookie", () => {
  const pair = new Pair();
  for (let i = 0; i < CROWDED; i++) pair.b.receive(nonsense(pair.b, i), stranger(i));
  assert.equal(pair.b.device.counters.droppedUnderLoad, 0);
  for (let i = 0; i < CROWDED; i++) pair.b.receive(nonsense(pair.b, CROWDED + i), stranger(i));
  assert.equal(pair.b.device.counters.droppedUnderLoad, CROWDED);
  pair.b.receive(initiation(pair));
  pair.b.outbox.length = 0;
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);
  // Who has had its turn may come again.
  for (let i = 0; i < CROWDED; i++) pair.b.receive(nonsense(pair.b, 2 * CROWDED + i), stranger(i));
  assert.equal(pair.b.device.counters.droppedUnderLoad, CROWDED);
});

Deno.test("all peers behind one address may come at once, as long as the queue is short", () => {
  const pair = new Pair();
  const first = initiation(pair);
  for (let i = 0; i < CROWDED; i++) {
    pair.b.receive(nonsense(pair.b, i), endpoint(first.from.address, 5000 + i));
  }
  drain(pair.b);
  assert.equal(pair.b.device.counters.droppedBadInitiation, CROWDED);
});

Deno.test("responses to no handshake of ours are refused without a MAC and never wait", () => {
  const pair = new Pair().connect();
  const bytes = pair.b.sentOfType(RESPONSE)[0]!.bytes.slice();
  for (let i = 0; i < 2 * HANDSHAKE_QUEUE_LIMIT; i++) {
    new DataView(bytes.buffer).setUint32(8, i);
    writeMAC(mac1KeyOf(pair.a.device.publicKey), bytes, 0, 60, bytes, 60);
    pair.a.device.handleDatagram(bytes, 0, bytes.length, stranger(i), pair.now);
  }
  const { counters } = pair.a.device;
  assert.equal(counters.droppedUnknownIndex, 2 * HANDSHAKE_QUEUE_LIMIT);
  assert(pair.a.device.pollTimeout() > 0, "nothing waits");
  pair.a.receive(initiationOfB(pair));
  assert.deepEqual(drain(pair.a).map((d) => d.type), [RESPONSE], "nobody is under load");
});

Deno.test("who sends in the peer's name does not hold up its answer to this side's initiation", () => {
  const pair = new Pair();
  for (let i = 0; i < 100; i++) {
    pair.a.receive(nonsense(pair.a, i), pair.b.address);
    drain(pair.a);
  }
  assert(pair.a.device.counters.droppedUnderLoad > 0, "its address is suspected");
  pair.connect();
  assert.equal(pair.b.device.counters.cookieRepliesReceived, 0);
});

Deno.test("a source that goes on without a cookie when it should have one has no turn again", () => {
  const { crypto, count } = counting();
  const pair = new Pair({ crypto });
  let seed = 0;
  const second = () => {
    for (let i = 0; i < 50; i++) pair.b.receive(nonsense(pair.b, seed++));
    drain(pair.b);
    pair.advance(1000);
  };
  second();
  const before = count();
  for (let i = 0; i < 5; i++) second();
  assert.equal(count(), before);
  pair.advance(2000);
  pair.b.receive(initiation(pair), endpoint("203.0.113.9", 4711));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE], "forgiven when it has stopped");
});

Deno.test("a source whose handshakes keep failing must show a cookie; nobody else has to", () => {
  const { crypto, count } = counting();
  const pair = new Pair({ crypto });
  const bad = Array.from({ length: 1000 }, (_, i) => nonsense(pair.b, i));
  for (const message of bad.slice(0, 20)) pair.b.receive(message);
  drain(pair.b);
  const before = count();
  bad.slice(20).forEach((message, i) => pair.b.receive(message, endpoint("203.0.113.9", 9 + i)));
  assert.equal(pair.b.device.handleHandshakes(0, 1), false, "none of them waits");
  assert.equal(count(), before);
  assert.equal(pair.b.device.counters.droppedUnderLoad, 980);
  pair.b.outbox.length = 0;

  pair.b.receive(initiation(pair));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);

  // Behind the same address somebody honest gets a cookie, and with it in.
  const [address, port] = [bad[0]!.from.address, 4711];
  pair.advance(500);
  pair.b.receive(initiation(pair), endpoint(address, port));
  const [reply] = drain(pair.b);
  assert.equal(reply!.type, COOKIE_REPLY);
  pair.a.handle(reply!);
  pair.b.receive(initiation(pair), endpoint(address, port));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE]);

  pair.advance(2000);
  pair.b.receive(initiation(pair), endpoint(address, port + 1));
  assert.deepEqual(drain(pair.b).map((d) => d.type), [RESPONSE], "forgiven");
});

Deno.test("with a cookie a source that keeps failing has 20 per second", () => {
  const pair = new Pair();
  for (let i = 0; i < 20; i++) pair.b.receive(nonsense(pair.b, i), pair.a.address);
  drain(pair.b);
  pair.b.receive(initiation(pair));
  pair.a.handle(drain(pair.b)[0]!);
  for (let i = 0; i < 100; i++) pair.b.receive(initiation(pair));
  assert.equal(pair.b.device.counters.droppedRateLimited, 95);
});

Deno.test("one source gets few cookie replies, however much it sends; the rest is counted", () => {
  const pair = new Pair();
  const first = initiation(pair);
  for (let i = 0; i < LOADED; i++) pair.b.receive(first, stranger(i));
  drain(pair.b); // under load from now on
  const { counters } = pair.b.device;
  const { cookieRepliesSuppressed, droppedUnderLoad } = counters;
  const flooded = LOADED + 100;
  for (let i = 0; i < flooded; i++) pair.b.receive(first, endpoint("203.0.113.1", 1));
  pair.b.receive(first);
  const replies = drain(pair.b);
  assert.equal(replies.length, COOKIE_REPLIES_PER_SOURCE + 1);
  assert.equal(replies.at(-1)!.to, pair.a.address, "and the flood of one is not another's");
  const suppressed = counters.cookieRepliesSuppressed - cookieRepliesSuppressed;
  assert.equal(suppressed, flooded - COOKIE_REPLIES_PER_SOURCE);
  assert.equal(counters.droppedUnderLoad - droppedUnderLoad, flooded + 1);
});

Deno.test("a flood from spoofed sources gets 5,000 cookie replies per second and no more", () => {
  const pair = new Pair();
  const first = initiation(pair);
  const { counters } = pair.b.device;
  const start = pair.now;
  let source = 0;
  const address = new Uint8Array(4);
  for (; pair.now < start + 2000; pair.advance(40)) {
    // 55,000 per second: a hundred at a time beyond what brings the load about.
    for (let i = 0; i < LOADED + 100; i++) {
      source++;
      address.set([100, source >>> 16, source >>> 8, source]);
      pair.b.receive(first, endpoint(address.slice(), 1 + source % 60000));
    }
    pair.b.outbox.length = 0;
    drain(pair.b);
  }
  const seconds = (pair.now - start) / 1000;
  assert(counters.cookieRepliesSent <= COOKIE_REPLIES_PER_SECOND * seconds + LOADED + 500);
  assert(counters.cookieRepliesSent >= COOKIE_REPLIES_PER_SECOND * seconds * 0.9);
  assert.equal(
    counters.cookieRepliesSent + counters.cookieRepliesSuppressed,
    counters.droppedUnderLoad,
  );
  assert.equal(counters.droppedQueueFull, 0);
});

Deno.test("sources are metered by IPv4 address, mapped or not, or by IPv6 /64", () => {
  const meter = new SourceMeter(seededRandom(1), false);
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff, 192, 0, 2, 1], 10);
  meter.add(endpoint("192.0.2.1", 1), 0);
  assert.equal(meter.count(endpoint(mapped, 2), 0), 1);
  assert.equal(meter.count(endpoint("192.0.2.2", 1), 0), 0);
  const v6 = (subnet: number, host: number) => {
    const address = new Uint8Array(16);
    address.set([0x20, 1, 0xd, 0xb8, 0, 0, 0, subnet]);
    address[15] = host;
    return address;
  };
  meter.add(endpoint(v6(1, 1), 1), 0);
  assert.equal(meter.count(endpoint(v6(1, 2), 2), 0), 1);
  assert.equal(meter.count(endpoint(v6(2, 1), 1), 0), 0);
  const exact = new SourceMeter(seededRandom(2), true);
  exact.add(endpoint(v6(1, 1), 1), 0);
  assert.equal(exact.count(endpoint(v6(1, 1), 1), 0), 1);
  assert.equal(exact.count(endpoint(v6(1, 2), 1), 0), 0);
  assert.equal(exact.count(endpoint(v6(1, 1), 2), 0), 0);
});

Deno.test("a count is of this second and the last, and never wraps around", () => {
  const meter = new SourceMeter(seededRandom(1), false);
  const from = endpoint("192.0.2.1", 1);
  for (let i = 0; i < 1000; i++) meter.add(from, 0);
  assert.equal(meter.count(from, 999), 255);
  assert.equal(meter.count(from, 1999), 255);
  assert.equal(meter.count(from, 3998), 0);
  meter.add(from, 4000);
  assert.equal(meter.count(from, 1e9), 0, "after a long silence at once");
});

Deno.test("a bucket gives its burst, then its rate, and is not confused by a time that stands still", () => {
  const bucket = new TokenBucket(10, 3);
  const taken = (now: number) => {
    let count = 0;
    while (bucket.take(now)) count++;
    return count;
  };
  assert.deepEqual([0, 0, 99, 100, 150, 300, 1e9].map(taken), [3, 0, 0, 1, 0, 2, 3]);
});
