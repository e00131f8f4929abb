/** Twenty-four simulated hours between two devices: keys are renewed when they should, and no gap. */

import assert from "node:assert/strict";
import { fastCrypto } from "../preset.ts";
import { type Host, Pair } from "./pair.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const INITIATION = 1, RESPONSE = 2, DATA = 4;

/** When handshakes began. */
function handshakes(host: Host): number[] {
  return host.sentOfType(INITIATION).map(({ sentAt }) => sentAt);
}

function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((time, i) => time - times[i]!);
}

Deno.test("a day of silence: one handshake, a keepalive to confirm it, and not a datagram more", () => {
  const pair = new Pair({ crypto: fastCrypto() }).connect();
  pair.advance(DAY);
  assert.deepEqual(pair.a.sent.map(({ type }) => type), [INITIATION, DATA]);
  assert.deepEqual(pair.b.sent.map(({ type }) => type), [RESPONSE]);
  assert(!pair.ab.hasSession && !pair.ba.hasSession, "keys wiped");
  assert.equal(pair.a.device.pollTimeout(), Infinity);
});

Deno.test("a day of a packet each way every 5 s: 720 handshakes, every packet arrives, in order", () => {
  const pair = new Pair({ crypto: fastCrypto() }).connect();
  const packets = DAY / 5000;
  for (let i = 0; i < packets; i++) {
    assert.equal(pair.aToB(28, i), 0, "sent at once: there is always a session");
    assert.equal(pair.bToA(28, i), 0);
    pair.advance(5000);
    for (const { received } of pair.hosts) {
      assert.equal(received.length, 1, `packet ${i}`);
      assert.equal(received.pop()!.bytes[20], i + 20 & 255);
    }
    // Only what is needed of what was sent: a day is long.
    for (const host of pair.hosts) {
      const kept = host.sent.filter(({ type }) => type !== DATA);
      host.sent.splice(0, host.sent.length, ...kept);
    }
  }
  // Every 120 s the initiator's next packet renews the key.
  const times = handshakes(pair.a);
  assert.deepEqual(new Set(gaps(times)), new Set([120_000]));
  assert.equal(times.length, DAY / 120_000);
  assert.equal(pair.b.sentOfType(INITIATION).length, 0);
  for (const { device } of pair.hosts) {
    const { packetsSent, packetsReceived, keepalivesSent } = device.counters;
    assert.deepEqual([packetsSent, packetsReceived], [packets, packets]);
    const dropped = Object.entries(device.counters).filter(([name, n]) =>
      name.startsWith("dropped") && n > 0
    );
    assert.deepEqual(dropped, []);
    // The initiator confirms its first session; the later ones are confirmed by data or a keepalive.
    assert(keepalivesSent <= times.length);
  }
});

Deno.test("a day of persistent keepalives: the session never ends, and no interval is longer", () => {
  const pair = new Pair({ crypto: fastCrypto(), a: { persistentKeepalive: 25 } }).connect();
  pair.advance(DAY);
  const sent = pair.a.sent.map(({ sentAt }) => sentAt);
  assert(Math.max(...gaps(sent)) <= 25_000, "the mapping in between lives");
  // A keepalive is sent under a key of up to 120 s and renews it when older: at the fifth after 120 s.
  const times = handshakes(pair.a);
  const between = gaps(times);
  assert(between.every((gap) => gap >= 120_000 && gap <= 125_000), `${Math.max(...between)}`);
  assert(pair.ab.hasSession && pair.ba.hasSession);
  assert.deepEqual(pair.b.sentOfType(INITIATION), []);
  const dropped = Object.entries(pair.b.device.counters).filter(([name, n]) =>
    name.startsWith("dropped") && n > 0
  );
  assert.deepEqual(dropped, []);
});

Deno.test("a day of bursts with silence between them: each begins anew, none loses a packet", () => {
  const pair = new Pair({ crypto: fastCrypto() }).connect();
  let bursts = 0;
  while (pair.now < DAY) {
    const before = pair.b.received.length;
    for (let i = 0; i < 20; i++) pair.aToB(1420, i);
    pair.settle();
    for (let i = 0; i < 20; i++) pair.bToA(1420, i);
    pair.advance(1000);
    bursts++;
    assert.equal(pair.b.received.length - before, 20, `burst ${bursts}`);
    assert.equal(pair.a.received.length, 20 * bursts);
    pair.advance([7_000, 100_000, 170_000, 200_000, 700_000][bursts % 5]!);
  }
  const { initiationsSent } = pair.a.device.counters;
  const { responsesSent, initiationsReceived } = pair.b.device.counters;
  assert.equal(initiationsReceived, initiationsSent, "none needed a second attempt");
  assert.equal(responsesSent, initiationsReceived);
  const { droppedStaged } = pair.a.device.counters;
  assert.equal(droppedStaged, 0);
});
