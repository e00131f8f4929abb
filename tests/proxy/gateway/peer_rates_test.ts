import assert from "node:assert/strict";
import { PeerRates } from "../../../proxy/gateway/peer_rates.ts";
import { Pair } from "../../wireguard/pair.ts";

Deno.test("rates are over a second while something moves, go back to 0, and then nobody is woken", () => {
  const pair = new Pair().connect();
  const { device } = pair.a;
  let now = 10_000;
  const rates = new PeerRates(device, () => now);
  const peer = pair.ab;
  // The handshake moved before there were rates: a first sample finds it, a second that all rests.
  for (let samples = 0; rates.pollTimeout() < Infinity; samples++) {
    assert.ok(samples < 2);
    now = rates.pollTimeout();
    rates.handleTimeout(now);
  }
  assert.deepEqual([peer.receiveRate, peer.sendRate], [0, 0]);

  now = 50_000; // an idle time that is no part of the rate
  const [sent, received] = [peer.sentBytes, peer.receivedBytes];
  for (let i = 0; i < 5; i++) pair.aToB();
  for (let i = 0; i < 3; i++) pair.bToA();
  pair.settle();
  assert.equal(rates.pollTimeout(), 51_000);
  now = 51_500;
  assert.equal(rates.pollTimeout(), 51_000, "late is not later");
  rates.handleTimeout(now);
  assert.equal(peer.sendRate, (peer.sentBytes - sent) * 1000 / 1500);
  assert.equal(peer.receiveRate, (peer.receivedBytes - received) * 1000 / 1500);
  assert.ok(peer.sendRate > peer.receiveRate && peer.receiveRate > 0);

  assert.equal(rates.pollTimeout(), 52_500);
  rates.handleTimeout(52_499);
  assert.ok(peer.sendRate > 0, "too early changes nothing");
  now = 52_500;
  rates.handleTimeout(now);
  assert.deepEqual([peer.receiveRate, peer.sendRate], [0, 0]);
  assert.equal(rates.pollTimeout(), Infinity);
});
