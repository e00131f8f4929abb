/** A place where one peer alone may speak: whatever else comes from there is dropped, and counted. */

import assert from "node:assert/strict";
import { PlainEndpoint } from "../../wireguard/mod.ts";
import { type Datagram, ipv4Packet, Pair, v4 } from "./pair.ts";

class Reserved extends PlainEndpoint {
  readonly #publicKey: Uint8Array;

  constructor(publicKey: Uint8Array) {
    super(v4("198.51.100.7"), 4000);
    this.#publicKey = publicKey;
  }

  get only(): Uint8Array {
    return this.#publicKey;
  }
}

function taken(pair: Pair, host: "a" | "b"): Datagram {
  pair[host].device.handleHandshakes(pair.now, 1);
  const [datagram] = pair[host].outbox.splice(0);
  return datagram!;
}

const OTHER = new Uint8Array(32).fill(3);

Deno.test("a handshake of another peer is refused there, with the reason; its own is taken", () => {
  const pair = new Pair();
  pair.ab.initiate(pair.now);
  pair.b.handle(taken(pair, "a"), new Reserved(OTHER));
  assert.equal(pair.b.device.counters.droppedOtherSpeaker, 1);
  assert.equal(pair.b.outbox.length, 0, "no answer");
  assert.equal(pair.ba.endpoint, undefined);
  const [event] = pair.b.events;
  assert.ok(event?.type === "handshake-rejected");
  assert.deepEqual([event.reason, event.peer], ["other-speaker", undefined]);
  const own = new Reserved(pair.a.device.publicKey);
  pair.now = pair.a.now = pair.b.now = 5_000;
  pair.ab.initiate(pair.now);
  pair.b.handle(taken(pair, "a"), own);
  assert.equal(pair.b.device.counters.droppedOtherSpeaker, 1);
  assert.equal(pair.b.outbox.length, 1, "the answer");
  assert.equal(pair.ba.endpoint, own);
});

Deno.test("an answer that comes there for another peer is refused, and taken where it belongs", () => {
  const pair = new Pair();
  pair.ab.initiate(pair.now);
  pair.b.handle(taken(pair, "a"));
  const [response] = pair.b.outbox.splice(0);
  pair.a.handle(response!, new Reserved(OTHER));
  assert.equal(pair.a.device.counters.droppedOtherSpeaker, 1);
  assert.equal(pair.ab.hasSession, false);
  pair.a.handle(response!);
  assert.equal(pair.ab.hasSession, true);
});

Deno.test("a session's packets that come there are dropped, move nobody, and can still come where they belong", () => {
  const pair = new Pair();
  pair.connect();
  const { endpoint } = pair.ba;
  pair.a.send(ipv4Packet("10.0.0.1", "10.0.0.2"));
  const [packet] = pair.a.outbox.splice(0);
  pair.b.receive(packet!, new Reserved(OTHER));
  assert.equal(pair.b.device.counters.droppedOtherSpeaker, 1);
  assert.deepEqual([pair.b.received.length, pair.ba.endpoint], [0, endpoint]);
  pair.b.receive(packet!);
  assert.equal(pair.b.received.length, 1);
  pair.a.send(ipv4Packet("10.0.0.1", "10.0.0.2"));
  const [next] = pair.a.outbox.splice(0);
  const own = new Reserved(pair.a.device.publicKey);
  pair.b.receive(next!, own);
  assert.deepEqual([pair.b.received.length, pair.ba.endpoint], [2, own]);
});
