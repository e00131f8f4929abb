/**
 * Mutated real messages of all four kinds against a device with a live session: no exception, no
 * answer where silence is due, no change of state.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { LOADED } from "../../wireguard/handshake_queue.ts";
import { type Datagram, endpoint, Pair, stranger } from "../wireguard/pair.ts";

const STRANGER = endpoint("203.0.113.66", 666);

/** One genuine, never delivered message of each kind for `b`, and whole sessions on both sides. */
function prepare(): { pair: Pair; samples: Uint8Array[] } {
  const pair = new Pair().connect();
  pair.advance(10_000);
  const undelivered: Datagram[] = [];
  pair.filter = (datagram) => {
    if (datagram.to === pair.b.address) undelivered.push(datagram);
    return false;
  };
  pair.aToB(700);
  pair.ab.sendKeepalive(pair.now);
  pair.ab.initiate(pair.now);
  pair.settle();
  // A response and a cookie reply for an initiation of b that is still waiting.
  pair.ba.initiate(pair.now);
  pair.b.device.handleHandshakes(pair.now, 1);
  const initiation = pair.b.outbox.splice(0)[0]!;
  for (let i = 0; i < LOADED; i++) pair.a.receive(initiation, stranger(i));
  pair.a.receive(initiation);
  pair.settle(); // under load: cookie replies
  pair.advance(1_000);
  pair.a.receive(initiation);
  pair.settle(); // and without it a response
  const samples = undelivered.map((d) => d.bytes);
  assert.deepEqual(new Set(samples.map((bytes) => bytes[0])), new Set([1, 2, 3, 4]));
  return { pair, samples };
}

/** What an attacker must not be able to change. */
function state(pair: Pair): unknown[] {
  const { keypairs, endpoint, receivedBytes, sentBytes, lastHandshake, stagedPackets } = pair.ba;
  return [
    keypairs.current,
    keypairs.previous,
    keypairs.next,
    pair.ba.pending,
    endpoint,
    receivedBytes,
    sentBytes,
    lastHandshake,
    stagedPackets,
    pair.b.received.length,
    pair.b.sent.length,
    pair.b.device.pollTimeout(),
  ];
}

const mutation = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.nat(7) }),
  fc.record({
    kind: fc.constant("set" as const),
    at: fc.nat(),
    value: fc.constantFrom(0, 1, 127, 255),
  }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
  fc.record({
    kind: fc.constant("grow" as const),
    tail: fc.uint8Array({ minLength: 1, maxLength: 80 }),
  }),
  fc.record({ kind: fc.constant("type" as const), type: fc.nat(6) }),
  fc.record({ kind: fc.constant("splice" as const), other: fc.nat(), at: fc.nat() }),
);

function mutate(
  sample: Uint8Array,
  mutations: (typeof mutation extends fc.Arbitrary<infer T> ? T : never)[],
  samples: Uint8Array[],
): Uint8Array {
  let bytes = sample.slice();
  for (const m of mutations) {
    const at = "at" in m && bytes.length > 0 ? m.at % bytes.length : 0;
    if (m.kind === "flip") bytes[at]! ^= 1 << m.bit;
    if (m.kind === "set") bytes[at] = m.value;
    if (m.kind === "cut") bytes = bytes.slice(0, at);
    if (m.kind === "grow") bytes = Uint8Array.from([...bytes, ...m.tail]);
    if (m.kind === "type") bytes[0] = m.type;
    if (m.kind === "splice") {
      const other = samples[m.other % samples.length]!;
      bytes = Uint8Array.from([...bytes.subarray(0, at), ...other.subarray(at)]);
    }
  }
  return bytes;
}

Deno.test("mutated real messages of all four kinds change nothing and are answered with silence", () => {
  const { pair, samples } = prepare();
  const genuine = new Set(samples.map(String));
  const before = state(pair);
  fc.assert(
    fc.property(
      fc.nat(),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      (which, mutations) => {
        const bytes = mutate(samples[which % samples.length]!, mutations, samples);
        fc.pre(!genuine.has(String(bytes)) && !onlyMac2Differs(bytes, samples));
        pair.b.device.handleDatagram(bytes, 0, bytes.length, STRANGER, pair.now);
        while (pair.b.device.handleHandshakes(pair.now, 10));
        assert.deepEqual(state(pair), before);
      },
    ),
    { numRuns: 4000 },
  );
  // The device is as well as before: every genuine message still does what it should.
  for (const sample of samples) {
    pair.b.device.handleDatagram(sample.slice(), 0, sample.length, pair.a.address, pair.now);
  }
  while (pair.b.device.handleHandshakes(pair.now, 10));
  assert.equal(pair.b.received.length, 1);
  const { counters } = pair.b.device;
  assert.equal(counters.initiationsReceived, 2);
  assert.equal(counters.responsesReceived, 1);
});

Deno.test("random bytes are dropped, each with a counted reason", () => {
  const { pair } = prepare();
  const before = state(pair);
  const { counters } = pair.b.device;
  fc.assert(
    fc.property(fc.nat(4), fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
      if (type > 0 && bytes.length >= 4) bytes.set([type, 0, 0, 0]);
      const dropped = drops(counters);
      pair.b.device.handleDatagram(bytes, 0, bytes.length, STRANGER, pair.now);
      assert.equal(drops(counters), dropped + 1);
      assert.deepEqual(state(pair), before);
    }),
    { numRuns: 3000 },
  );
});

/** mac2 means nothing while there is no load (§5.4.4): such a message is as genuine as before. */
function onlyMac2Differs(bytes: Uint8Array, samples: Uint8Array[]): boolean {
  return samples.some((sample) =>
    sample[0]! <= 2 && sample.length === bytes.length &&
    sample.subarray(0, -16).every((byte, i) => byte === bytes[i])
  );
}

function drops(counters: object): number {
  return Object.entries(counters)
    .filter(([name]) => name.startsWith("dropped"))
    .reduce((sum, [, count]) => sum + count, 0);
}
