/** Whitepaper §6 between two devices, in simulated time. */

import assert from "node:assert/strict";
import {
  type AeadKey,
  type Crypto,
  nobleCrypto,
  SendResult,
  type TimerSettings,
} from "../../wireguard/mod.ts";
import type { Deadlines } from "../../wireguard/deadlines.ts";
import { PeerTimers, type TimerActions } from "../../wireguard/timers.ts";
import { type Host, ipv4Packet, Pair } from "./pair.ts";

const INITIATION = 1, RESPONSE = 2, DATA = 4;
const KEEPALIVE = 32;

/** Times at which a host sent datagrams of a type (and size), rounded to ms. */
function times(host: Host, type: number, size?: number): number[] {
  return host.sent
    .filter((d) => d.type === type && (size === undefined || d.bytes.length === size))
    .map((d) => Math.floor(d.sentAt));
}

/** Without jitter times are exact. */
const EXACT: Partial<TimerSettings> = { rekeyJitterMs: 0 };

/** Keeps a pair talking: a packet from each side every `everyMs`, for `ms`. */
function talk(pair: Pair, ms: number, everyMs = 1000, both = true): void {
  for (let t = 0; t < ms; t += everyMs) {
    pair.aToB();
    if (both) pair.bToA();
    pair.advance(everyMs);
  }
}

Deno.test("REKEY_AFTER_TIME: the initiator rekeys when it sends after 120 s, and not before", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  talk(pair, 120_000);
  assert.deepEqual(times(pair.a, INITIATION), [0]);
  pair.advance(500);
  pair.aToB();
  pair.settle();
  assert.deepEqual(times(pair.a, INITIATION), [0, 120_500]);
  assert.deepEqual(times(pair.b, INITIATION), []);
});

Deno.test("the responder never rekeys by time; sending after 120 s it goes on under the same key", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  const key = pair.ba.keypairs.current;
  pair.filter = (d) => d.type !== INITIATION; // let the initiator's own attempts not confuse the count
  pair.advance(150_000);
  assert.equal(pair.bToA(), SendResult.Sent);
  pair.settle();
  assert.equal(pair.ba.keypairs.current, key);
  assert.deepEqual(times(pair.b, INITIATION), []);
});

Deno.test("receive-side rekey: the initiator, when it receives after 165 s, once per key", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = (d) => d.type !== INITIATION;
  pair.advance(164_999);
  pair.bToA();
  pair.settle();
  assert.deepEqual(times(pair.a, INITIATION), [0]);
  pair.advance(1);
  pair.bToA();
  pair.bToA();
  pair.settle();
  assert.deepEqual(times(pair.a, INITIATION), [0, 165_000]);
});

Deno.test("receive-side rekey: not again for the same key when it was given up, but for every new key", () => {
  const pair = new Pair({ timers: { ...EXACT, rekeyAttemptMs: 5000 } }).connect();
  pair.advance(165_000);
  pair.filter = (d) => d.type !== INITIATION;
  pair.bToA();
  pair.advance(10_000);
  assert.deepEqual(times(pair.a, INITIATION), [0, 165_000, 170_000]);
  assert(pair.a.eventTypes().includes("handshake-failed"));
  pair.bToA();
  pair.advance(1_000);
  assert.equal(times(pair.a, INITIATION).length, 3);

  const another = new Pair({ timers: EXACT }).connect();
  for (const key of [1, 2, 3]) {
    another.advance(165_000);
    another.bToA();
    another.settle();
    assert.equal(times(another.a, INITIATION).length, 1 + key);
  }
});

Deno.test("receive-side rekey: never by the responder", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.advance(170_000);
  pair.filter = (d) => d.type !== INITIATION;
  pair.aToB();
  pair.settle();
  assert.equal(pair.b.received.length, 1);
  assert.deepEqual(times(pair.b, INITIATION), []);
});

Deno.test("REJECT_AFTER_TIME: a key of 180 s neither sends nor receives", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = (d) => d.type === DATA;
  pair.advance(179_999);
  assert.equal(pair.bToA(), SendResult.Sent);
  pair.settle();
  assert.equal(pair.a.received.length, 1);
  pair.bToA();
  const late = pair.b.outbox.splice(0)[0]!;
  pair.advance(1);
  pair.a.receive(late);
  assert.equal(pair.a.received.length, 1);
  assert.equal(pair.a.device.counters.droppedExpired, 1);
  assert.equal(pair.aToB(), SendResult.Staged);
  assert.equal(pair.bToA(), SendResult.Staged);
});

Deno.test("REKEY_TIMEOUT: initiations are retried every 5 s plus jitter of at most 333 ms", () => {
  const pair = new Pair();
  pair.filter = () => false;
  pair.aToB();
  pair.advance(60_000);
  const sent = pair.a.sentOfType(INITIATION).map((d) => d.sentAt);
  assert.equal(sent[0], 0);
  const gaps = sent.slice(1).map((at, i) => at - sent[i]!);
  assert.equal(gaps.length, 11);
  assert(gaps.every((gap) => gap >= 5000 && gap < 5334), String(gaps));
  assert(new Set(gaps).size > 5, "random");
});

Deno.test("at most one initiation per 5 s, however much wants one", () => {
  const pair = new Pair({ timers: EXACT });
  pair.filter = () => false;
  for (let t = 0; t < 20_000; t += 100) {
    pair.aToB();
    pair.ab.initiate(pair.now);
    pair.advance(100);
  }
  assert.deepEqual(times(pair.a, INITIATION), [0, 5000, 10_000, 15_000, 20_000]);
});

Deno.test("REKEY_ATTEMPT_TIME: 18 retries in 90 s, then the staged packets are dropped and all is quiet", () => {
  const pair = new Pair({ timers: EXACT });
  pair.filter = () => false;
  pair.aToB();
  pair.aToB();
  pair.advance(94_999);
  assert.deepEqual(times(pair.a, INITIATION), Array.from({ length: 19 }, (_, i) => i * 5000));
  assert.equal(pair.ab.stagedPackets, 2);
  pair.advance(1);
  assert.equal(pair.ab.stagedPackets, 0);
  assert.equal(pair.a.device.counters.droppedStaged, 2);
  assert.equal(pair.a.eventTypes().filter((type) => type === "handshake-retry").length, 18);
  assert.equal(pair.a.eventTypes().at(-1), "handshake-failed");
  pair.advance(400_000);
  assert.equal(pair.a.sentOfType(INITIATION).length, 19);
  assert.equal(pair.a.sent.length, 19);
});

Deno.test("after giving up, the next packet starts all over", () => {
  const pair = new Pair({ timers: EXACT });
  pair.filter = () => false;
  pair.aToB();
  pair.advance(100_000);
  pair.filter = () => true;
  pair.aToB(84, 9);
  pair.settle();
  assert.deepEqual(pair.b.received.map((r) => r.bytes), [
    ipv4Packet("10.0.0.1", "10.0.0.2", 84, 9),
  ]);
});

Deno.test("passive keepalive: 10 s after data was received and nothing sent", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.aToB();
  pair.advance(9_999);
  assert.deepEqual(times(pair.b, DATA), []);
  pair.advance(1);
  assert.deepEqual(times(pair.b, DATA, KEEPALIVE), [10_000]);
});

Deno.test("any authenticated packet sent cancels the passive keepalive", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.aToB();
  pair.advance(5_000);
  pair.bToA();
  pair.advance(9_000);
  assert.deepEqual(times(pair.b, DATA, KEEPALIVE), []);
});

Deno.test("data that arrives while a passive keepalive is due already gets one more", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.aToB();
  pair.advance(5_000);
  pair.aToB();
  pair.advance(60_000);
  assert.deepEqual(times(pair.b, DATA, KEEPALIVE), [10_000, 20_000]);
});

Deno.test("data sent meanwhile makes that one more superfluous", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.aToB();
  pair.advance(5_000);
  pair.aToB();
  pair.settle();
  pair.bToA();
  pair.advance(15_000); // a has answered with a keepalive by now
  pair.aToB();
  pair.advance(60_000);
  assert.deepEqual(times(pair.b, DATA, KEEPALIVE), [30_000]);
});

Deno.test("no keepalive ping-pong: one keepalive is never answered by another", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  const confirmation = times(pair.a, DATA, KEEPALIVE);
  assert.deepEqual(confirmation, [0]);
  pair.aToB();
  pair.advance(100_000);
  assert.deepEqual(times(pair.a, DATA, KEEPALIVE), confirmation);
  assert.deepEqual(times(pair.b, DATA), [10_000]);
});

Deno.test("a stream that is only received is answered by one keepalive per 10 s", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  talk(pair, 60_000, 500, false);
  assert.deepEqual(times(pair.b, DATA), [10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
  assert.deepEqual(times(pair.a, INITIATION), [0]);
});

Deno.test("a new handshake 15 s after data was sent and nothing came back", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = () => false;
  pair.advance(1_000);
  pair.bToA();
  pair.advance(14_999);
  assert.deepEqual(times(pair.b, INITIATION), []);
  pair.advance(1);
  assert.deepEqual(times(pair.b, INITIATION), [16_000], "the responder as well");
  pair.bToA();
  pair.advance(20_000);
  assert.deepEqual(times(pair.b, INITIATION), [16_000, 21_000, 26_000, 31_000, 36_000]);
});

Deno.test("the 15 s count from the first packet without an answer, however many follow", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = (d) => d.from === pair.a.address && d.type === DATA;
  for (let t = 0; t < 15_000; t += 1000) {
    pair.aToB();
    pair.advance(1000);
  }
  assert.deepEqual(times(pair.a, INITIATION), [0, 15_000]);
});

Deno.test("a handshake message that is heard counts as an answer", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = (d) => d.type !== DATA;
  pair.advance(1_000);
  pair.aToB();
  pair.advance(9_000);
  pair.filter = (d) => d.from === pair.b.address && d.type === INITIATION;
  pair.ba.initiate(pair.now);
  pair.advance(10_000);
  assert.equal(pair.a.sentOfType(RESPONSE).length, 3, "to the first and two retries");
  assert.deepEqual(times(pair.a, INITIATION), [0]);
});

Deno.test("the jitter of the 15 s timer is below 333 ms", () => {
  const delays = Array.from({ length: 12 }, (_, seed) => {
    const pair = new Pair({ seed }).connect();
    pair.filter = () => false;
    pair.aToB();
    pair.advance(15_400);
    return pair.a.sentOfType(INITIATION)[1]!.sentAt;
  });
  assert(delays.every((delay) => delay >= 15_000 && delay < 15_333), String(delays));
  assert(new Set(delays).size > 1);
});

Deno.test("data that is answered draws no jitter, and what is not draws it once", () => {
  let draws = 0;
  const told: string[] = [];
  const actions = {
    dataUnanswered: () => told.push("unanswered"),
    requestInitiation: (now: number) => told.push(`initiation at ${now}`),
  };
  const deadlines = { arm() {}, remove() {} };
  const settings = { keepaliveTimeoutMs: 10_000, rekeyTimeoutMs: 5_000 };
  const timers = new PeerTimers(
    actions as unknown as TimerActions,
    deadlines as unknown as Deadlines,
    settings as TimerSettings,
    () => (draws++, 100),
  );
  for (let now = 0; now < 1_000; now++) {
    timers.dataSent(now);
    timers.anyAuthenticatedPacketReceived();
  }
  assert.equal(draws, 0);
  timers.dataSent(1_000);
  timers.dataSent(2_000);
  for (const now of [16_000, 16_099]) {
    timers.handleTimeout(now);
    assert.deepEqual([draws, told, timers.nextDeadline()], [1, [], 16_100]);
  }
  timers.handleTimeout(16_100);
  assert.deepEqual([draws, told], [1, ["unanswered", "initiation at 16100"]]);
});

Deno.test("a keepalive does not start the 15 s timer", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = () => false;
  pair.ab.sendKeepalive(pair.now);
  pair.advance(100_000);
  assert.deepEqual(times(pair.a, INITIATION), [0]);
});

Deno.test("keys are wiped 540 s after the last session was derived", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.advance(539_999);
  assert(pair.ab.hasSession && pair.ba.hasSession);
  pair.advance(1);
  assert(!pair.ab.hasSession && !pair.ba.hasSession);
  assert.equal(pair.a.eventTypes().at(-1), "session-expired");
  assert.equal(pair.b.eventTypes().at(-1), "session-expired");
  assert.equal(pair.a.device.pollTimeout(), Infinity, "no timer is left");
  assert.equal(pair.b.device.pollTimeout(), Infinity);
});

Deno.test("keys are wiped 540 s after a handshake was given up", () => {
  const pair = new Pair({ timers: EXACT });
  pair.filter = () => false;
  pair.aToB();
  pair.advance(95_000);
  assert(pair.ab.pending !== undefined);
  pair.advance(539_999);
  assert(pair.ab.pending !== undefined);
  pair.advance(1);
  assert.equal(pair.ab.pending, undefined);
  assert.equal(pair.a.device.pollTimeout(), Infinity);
});

Deno.test("no transport key outlives its session: replaced, superseded, expired or of a removed peer", () => {
  const live = new Set<AeadKey>();
  const { x25519, aead } = nobleCrypto;
  const crypto: Crypto = {
    x25519,
    aead: {
      importKey(bytes) {
        const key = aead.importKey(bytes);
        const watched: AeadKey = {
          seal: key.seal.bind(key),
          open: key.open.bind(key),
          destroy() {
            live.delete(watched);
            key.destroy();
          },
        };
        live.add(watched);
        return watched;
      },
    },
  };
  const pair = new Pair({ crypto }).connect();
  for (let i = 0; i < 12; i++) {
    pair.advance(6000);
    (i % 2 === 0 ? pair.ab : pair.ba).initiate(pair.now);
    // Every third session is never confirmed.
    pair.filter = ({ type }) => i % 3 !== 0 || type !== DATA;
    pair.settle();
    assert(live.size <= 12, "two keys of three sessions on either side");
  }
  pair.filter = () => true;
  pair.advance(640_000);
  assert.equal(live.size, 0);
  pair.connect();
  assert.equal(live.size, 4);
  pair.a.device.removePeer(pair.ab, pair.now);
  pair.b.device.close(pair.now);
  assert.equal(live.size, 0);
});

Deno.test("persistent keepalive: every interval of silence, from the moment it is set", () => {
  const pair = new Pair({ timers: EXACT, a: { persistentKeepalive: 25 } });
  pair.advance(100_000);
  assert.deepEqual(times(pair.a, INITIATION), [0], "starts a session by itself");
  assert.deepEqual(times(pair.a, DATA, KEEPALIVE), [0, 25_000, 50_000, 75_000, 100_000]);
});

Deno.test("persistent keepalive is re-armed by authenticated packets in either direction", () => {
  const pair = new Pair({ timers: EXACT, a: { persistentKeepalive: 25 } });
  pair.advance(20_000);
  pair.aToB();
  pair.advance(20_000); // b's passive keepalive at 30 s pushes it on
  assert.deepEqual(times(pair.a, DATA, KEEPALIVE), [0]);
  pair.advance(14_999);
  assert.deepEqual(times(pair.a, DATA, KEEPALIVE), [0]);
  pair.advance(1);
  assert.deepEqual(times(pair.a, DATA, KEEPALIVE), [0, 55_000]);
});

Deno.test("persistent keepalive brings a peer back that was away for longer than anybody retries", () => {
  const pair = new Pair({ timers: EXACT, a: { persistentKeepalive: 25 } });
  pair.advance(10_000);
  pair.filter = () => false;
  pair.advance(1_000_000);
  assert(!pair.ab.hasSession);
  pair.filter = () => true;
  pair.advance(30_000);
  assert(pair.ab.hasSession && pair.ba.hasSession);
});

Deno.test("a keepalive shorter than REKEY_TIMEOUT neither hurries a handshake nor keeps it from failing", () => {
  const pair = new Pair({ timers: EXACT, a: { persistentKeepalive: 1 } });
  pair.filter = () => false;
  pair.advance(94_999);
  assert.deepEqual(times(pair.a, INITIATION), Array.from({ length: 19 }, (_, i) => i * 5000));
  pair.advance(2_000);
  assert(pair.a.eventTypes().includes("handshake-failed"));
  assert.equal(times(pair.a, INITIATION).length, 20, "and then starts another");
});

Deno.test("persistent keepalive without an endpoint waits until the peer is heard", () => {
  const pair = new Pair({ timers: EXACT, b: { persistentKeepalive: 10 } });
  pair.advance(60_000);
  assert.equal(pair.b.sent.length, 0);
  pair.connect();
  pair.advance(30_000);
  assert(times(pair.b, DATA, KEEPALIVE).length >= 3);
});

Deno.test("switching persistent keepalive off stops it", () => {
  const pair = new Pair({ timers: EXACT, a: { persistentKeepalive: 25 } });
  pair.advance(30_000);
  pair.ab.setPersistentKeepalive(0, pair.now);
  const before = pair.a.sent.length;
  pair.advance(100_000);
  assert.equal(pair.a.sent.length, before);
});

Deno.test("an hour of talk: a rekey every 120 s, one key in use, nothing lost, no timer left behind", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  talk(pair, 3_600_000, 5_000);
  const initiations = times(pair.a, INITIATION);
  assert.equal(initiations.length, 30);
  assert(initiations.slice(1).every((at, i) => at - initiations[i]! <= 125_000));
  assert.equal(pair.b.sentOfType(RESPONSE).length, 30);
  assert.equal(pair.a.received.length, 720);
  assert.equal(pair.b.received.length, 720);
  pair.advance(600_000);
  assert.equal(pair.a.device.pollTimeout(), Infinity);
  assert.equal(pair.b.device.pollTimeout(), Infinity);
});

Deno.test("REKEY_AFTER_MESSAGES: after 2^60 messages either side rekeys", () => {
  for (const side of ["a", "b"] as const) {
    const pair = new Pair({ timers: EXACT }).connect();
    pair.advance(10_000);
    const peer = side === "a" ? pair.ab : pair.ba;
    const send = () => side === "a" ? pair.aToB() : pair.bToA();
    peer.keypairs.current!.sendHigh = 0x0fffffff;
    peer.keypairs.current!.sendLow = 0xffffffff;
    send();
    pair.settle();
    const before = times(pair[side], INITIATION).length;
    send();
    pair.settle();
    assert.equal(times(pair[side], INITIATION).length, before + 1, side);
    assert.equal(peer.keypairs.current!.sendHigh, 0, "a new key");
  }
});

Deno.test("REJECT_AFTER_MESSAGES: the last counter is 2^64 - 2^13 - 2, then no packet leaves: no nonce twice", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.filter = (d) => d.type === DATA;
  const key = pair.ab.keypairs.current!;
  key.sendHigh = 0xffffffff;
  key.sendLow = 0xffffdffe;
  assert.equal(pair.aToB(), SendResult.Sent);
  pair.settle();
  assert.equal(pair.b.received.length, 1);
  assert.equal(pair.aToB(), SendResult.Staged);
  assert.deepEqual([key.sendHigh, key.sendLow], [0xffffffff, 0xffffdfff]);
});

Deno.test("counters are 64 bits wide: 2^32 - 1 is followed by 2^32", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.ab.keypairs.current!.sendLow = 0xffffffff;
  pair.aToB();
  pair.aToB();
  pair.settle();
  assert.equal(pair.b.received.length, 2);
  const counters = pair.a.sentOfType(DATA).slice(-2).map((d) =>
    new DataView(d.bytes.buffer).getBigUint64(8, true)
  );
  assert.deepEqual(counters, [2n ** 32n - 1n, 2n ** 32n]);
});

Deno.test("pollTimeout is when handleTimeout first does something", () => {
  const pair = new Pair({ timers: EXACT }).connect();
  pair.aToB();
  pair.settle();
  assert.equal(pair.a.device.pollTimeout(), 15_000);
  assert.equal(pair.b.device.pollTimeout(), 10_000);
  pair.b.device.handleTimeout(9_999);
  assert.equal(pair.b.outbox.length, 0);
  pair.b.device.handleTimeout(10_000);
  assert.equal(pair.b.outbox.length, 1);
});

Deno.test("a peer is heard since the first authentic packet, and anew after REJECT_AFTER_TIME of silence", () => {
  const pair = new Pair({ timers: EXACT });
  assert.deepEqual([pair.ba.lastHeard, pair.ba.isHeard(0)], [-Infinity, false]);
  pair.connect();
  const since = pair.ba.heardSince;
  assert.ok(since >= 0 && pair.ba.lastHeard >= since);
  pair.advance(100_000);
  pair.aToB();
  pair.settle();
  const { lastHeard } = pair.ba;
  assert.ok(lastHeard >= 100_000);
  assert.equal(pair.ba.heardSince, since);
  // Garbage, and packets under keys that are no more, are nothing of the peer's.
  pair.b.device.handleDatagram(new Uint8Array(64).fill(4), 0, 64, pair.a.address, pair.b.now);
  assert.equal(pair.ba.lastHeard, lastHeard);
  assert.ok(pair.ba.isHeard(lastHeard + 179_999) && !pair.ba.isHeard(lastHeard + 180_000));
  pair.filter = () => false;
  pair.advance(300_000);
  pair.filter = () => true;
  assert.equal(pair.ba.lastHeard, lastHeard);
  pair.ab.initiate(pair.a.now);
  pair.settle();
  assert.ok(pair.ba.heardSince >= lastHeard + 180_000);
  assert.equal(pair.ab.isHeard(pair.a.now), true);
});
