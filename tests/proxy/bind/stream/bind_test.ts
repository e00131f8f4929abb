import assert from "node:assert/strict";
import type { BindEndpoint } from "../../../../proxy/bind/bind.ts";
import { Backoff } from "../../../../proxy/bind/stream/backoff.ts";
import {
  AcceptedEndpoint,
  CarrierBudget,
  Farewell,
  StreamBind,
  type StreamBindOptions,
  type StreamState,
} from "../../../../proxy/bind/stream/mod.ts";
import {
  MemoryCarrier,
  MemoryDialer,
  MemoryListener,
  settle,
  VirtualTimers,
} from "./memory_carrier.ts";

interface Heard {
  readonly bytes: Uint8Array;
  readonly from: BindEndpoint;
}

/** One bind, whose engine drains whenever it is told, unless it is busy. */
class Side {
  readonly bind: StreamBind;
  readonly heard: Heard[] = [];
  isBusy = false;
  told = 0;
  toldSent = 0;

  constructor(timers: VirtualTimers, options: Partial<StreamBindOptions> = {}) {
    this.bind = new StreamBind({ name: "memory", timers, random: () => 0.5, ...options });
    this.bind.start({
      onReadable: () => {
        this.told++;
        if (!this.isBusy) queueMicrotask(() => this.drain());
      },
      onSent: () => void this.toldSent++,
      onFailed: (error) => assert.fail(error),
    });
  }

  drain(): void {
    while (this.bind.hasReady) {
      this.bind.drain((buffer, offset, length, from) => {
        this.heard.push({
          bytes: buffer.slice(offset, offset + length),
          from: from.toEndpoint() as BindEndpoint,
        });
      });
    }
  }

  send(to: BindEndpoint, bytes: Uint8Array): void {
    assert.equal(this.bind.send(to as never, bytes, 0, bytes.length, false), false);
    this.bind.flush();
  }
}

function site(options: Partial<StreamBindOptions> = {}) {
  const timers = new VirtualTimers();
  const hub = new Side(timers, options);
  const peer = new Side(timers, options);
  const listener = new MemoryListener();
  hub.bind.listen(listener);
  const dialer = new MemoryDialer(listener);
  const endpoint = peer.bind.endpoint(dialer);
  const states: StreamState[] = [];
  endpoint.onState = (state) => states.push(state);
  return { timers, hub, peer, listener, dialer, endpoint, states };
}

function bytes(length: number, value = 1): Uint8Array {
  return new Uint8Array(length).fill(value);
}

Deno.test("what is sent first opens the carrier; what is sent next arrives, and the answer goes back the same way", async () => {
  const { hub, peer, endpoint, states } = site();
  peer.send(endpoint, bytes(148, 9));
  await settle();
  assert.equal(peer.bind.counters.droppedNoCarrier, 1);
  peer.send(endpoint, bytes(148, 1));
  await settle();
  assert.deepEqual(hub.heard.map((h) => h.bytes), [bytes(148, 1)]);
  const { from } = hub.heard[0]!;
  assert.equal(`${from}`, "memory:192.0.2.1:1");
  assert.deepEqual([from.address, from.port], [Uint8Array.of(192, 0, 2, 1), 1]);
  hub.send(from, bytes(92, 2));
  await settle();
  assert.deepEqual(peer.heard.map((h) => h.bytes), [bytes(92, 2)]);
  assert.equal(peer.heard[0]!.from, endpoint);
  assert.deepEqual(states, ["connecting", "open"]);
  assert.equal(hub.bind.counters.accepted, 1);
  assert.equal(hub.bind.counters.received, 1);
  assert.equal(hub.bind.counters.sent, 1);
  assert.equal(hub.bind.counters.sentBytes, 92);
});

Deno.test("two carriers are two senders, also from one address", async () => {
  const { hub, peer, listener, endpoint } = site();
  const second = peer.bind.endpoint(new MemoryDialer(listener));
  endpoint.open();
  second.open();
  await settle();
  peer.send(endpoint, bytes(40, 1));
  peer.send(second, bytes(40, 2));
  await settle();
  const [a, b] = hub.heard.map((h) => h.from);
  assert.notEqual(a, b);
  assert.ok((a as AcceptedEndpoint).isAt(a!));
  assert.ok(!(a as AcceptedEndpoint).isAt(b!));
});

Deno.test("it is closed until there is something to send, and then kept only if that is wanted", async () => {
  const { timers, hub, peer, dialer, endpoint, states } = site();
  await timers.pass(5_000);
  assert.equal(dialer.attempts, 0);
  peer.send(endpoint, bytes(40));
  await settle();
  dialer.ends![1].close();
  await timers.pass(5_000);
  assert.equal(endpoint.state, "closed");
  assert.equal(dialer.attempts, 1);
  endpoint.open();
  await settle();
  assert.equal(endpoint.state, "open");
  dialer.ends![1].close();
  await timers.pass(5_000);
  assert.equal(endpoint.state, "open");
  assert.equal(dialer.attempts, 3);
  endpoint.close();
  await timers.pass(70_000);
  assert.deepEqual(states.slice(-2), ["open", "closed"]);
  assert.equal(dialer.attempts, 3);
  assert.equal(hub.bind.carriers, 0);
});

Deno.test("who cannot connect waits longer and longer, up to a minute, and starts over once it has worked", async () => {
  const { timers, dialer, endpoint } = site();
  dialer.problem = "refused";
  endpoint.open();
  const pauses: number[] = [];
  for (let i = 0; i < 9; i++) {
    await settle();
    assert.equal(endpoint.state, "waiting");
    const pause = timers.nextAt - timers.now();
    pauses.push(pause);
    await timers.pass(pause);
  }
  // Half of 1, 2, 4 … 60 s: the random number is 0.5.
  assert.deepEqual(pauses, [500, 1e3, 2e3, 4e3, 8e3, 16e3, 30e3, 30e3, 30e3]);
  assert.equal(endpoint.problem, "refused");
  dialer.problem = undefined;
  await timers.pass(30_000);
  assert.equal(endpoint.state, "open");
  assert.equal(endpoint.problem, undefined);
  dialer.problem = "refused";
  dialer.ends![1].close();
  await settle();
  assert.equal(timers.nextAt - timers.now() <= 500, true);
});

Deno.test("a hub that accepts and closes before anything was heard is no success", async () => {
  const { timers, hub, peer, dialer, endpoint } = site({
    budget: new CarrierBudget({ carriers: 0, bytes: Infinity }),
  });
  endpoint.open();
  await timers.pass(20_000);
  assert.equal(hub.bind.counters.accepted, 0);
  assert.equal(endpoint.problem, "the other side has too many already");
  assert.ok(dialer.attempts >= 5 && dialer.attempts <= 7, `${dialer.attempts} attempts`);
  assert.equal(peer.bind.counters.dialled, dialer.attempts);
  assert.equal(dialer.ends![1].closedFor, Farewell.Full);
});

Deno.test("jitter is full: from nothing to all of the pause", () => {
  const pauses = [0, 0.25, 0.999].map((random) => {
    const backoff = new Backoff({ random: () => random });
    backoff.next();
    return backoff.next();
  });
  assert.deepEqual(pauses, [0, 500, 1998]);
});

Deno.test("a quiet carrier has heartbeats, stays, and nobody is told of them", async () => {
  const { timers, hub, peer, endpoint, dialer } = site();
  endpoint.open();
  await timers.pass(600_000);
  assert.equal(endpoint.state, "open");
  assert.equal(dialer.attempts, 1);
  const { heartbeatsReceived } = hub.bind.counters;
  assert.ok(heartbeatsReceived >= 100 && heartbeatsReceived <= 151, `${heartbeatsReceived}`);
  assert.equal(hub.told + peer.told, 0);
});

Deno.test("a connection that nobody knows to be dead is given up within 15 s, on both sides", async () => {
  const { timers, hub, peer, endpoint, dialer } = site();
  endpoint.open();
  await timers.pass(10_000);
  for (const end of dialer.ends!) end.isDead = true;
  dialer.problem = "no answer";
  await timers.pass(15_000);
  assert.equal(endpoint.state, "waiting");
  assert.equal(hub.bind.carriers, 0);
  assert.equal(hub.bind.counters.silent, 1);
  assert.equal(peer.bind.counters.silent, 1);
  assert.ok(dialer.ends!.every((end) => end.isClosed));
});

Deno.test("a pause of this process is not taken for silence of the other", async () => {
  const { timers, hub, endpoint } = site();
  endpoint.open();
  await timers.pass(10_500);
  // Both sides are in one process: neither is called for a minute.
  timers.now = ((now) => () => now() + 60_000)(timers.now.bind(timers));
  await timers.pass(2_000);
  assert.equal(endpoint.state, "open");
  assert.equal(hub.bind.counters.silent, 0);
});

Deno.test("who reads nothing costs a bounded queue, whose oldest go, and is given up", async () => {
  const { timers, hub, peer, endpoint, dialer } = site();
  endpoint.open();
  await settle();
  peer.send(endpoint, bytes(40));
  await settle();
  const { from } = hub.heard[0]!;
  dialer.ends![1].isHeld = true;
  for (let i = 0; i < 1_100; i++) hub.send(from, bytes(1_400, i));
  const { counters } = hub.bind;
  const held = (from as AcceptedEndpoint).buffered;
  assert.ok(held <= (64 << 10) + 1_402 + (256 << 10), `${held} bytes`);
  assert.ok(counters.droppedFull > 800, `${counters.droppedFull} dropped`);
  await timers.pass(1_100);
  dialer.ends![1].isHeld = false;
  dialer.ends![1].release();
  await settle();
  // What waited for a second is not delivered.
  assert.ok(counters.droppedStale > 90, `${counters.droppedStale} stale`);
  assert.equal(peer.heard.length, 1_100 - counters.droppedFull - counters.droppedStale);
  dialer.ends![1].isHeld = true;
  for (let i = 0; i < 100; i++) hub.send(from, bytes(1_400, i));
  await timers.pass(15_000);
  assert.equal(counters.stalled, 1);
  assert.equal((from as AcceptedEndpoint).isConnected, false);
});

/** A carrier that is full, and behind it more than half a queue: 192 KiB of 256. */
async function full() {
  const all = site();
  const { peer, dialer, endpoint } = all;
  endpoint.open();
  await settle();
  dialer.ends![0].isHeld = true;
  assert.equal(peer.bind.isBusy, false);
  for (let i = 0; i < 4; i++) peer.send(endpoint, bytes(16_000)); // what the carrier takes
  assert.equal(peer.bind.isBusy, false);
  for (let i = 0; i < 12; i++) peer.send(endpoint, bytes(16_000));
  return all;
}

Deno.test("a bind is busy while its only carrier is full and much waits, and says when it is not", async () => {
  const { timers, hub, peer, dialer, endpoint } = await full();
  assert.equal(peer.bind.isBusy, true);
  assert.equal(peer.toldSent, 0);
  await timers.pass(2);
  dialer.ends![0].isHeld = false;
  dialer.ends![0].release();
  assert.equal(peer.bind.isBusy, false);
  assert.equal(peer.toldSent, 1);
  await timers.pass(100);
  assert.equal(peer.toldSent, 1);
  assert.equal(hub.heard.length, 16);
  assert.deepEqual([peer.bind.counters.droppedFull, endpoint.buffered], [0, 0]);
});

Deno.test("on a slow line it is not busy any more, though nothing has left: what waits longer grows old", async () => {
  const { timers, peer, endpoint } = await full();
  assert.equal(peer.bind.isBusy, true);
  await timers.pass(3);
  assert.deepEqual([peer.bind.isBusy, peer.toldSent], [true, 0]);
  await timers.pass(1);
  assert.deepEqual([peer.bind.isBusy, peer.toldSent], [false, 1]);
  for (let i = 0; i < 12; i++) peer.send(endpoint, bytes(16_000));
  assert.ok(peer.bind.counters.droppedFull > 0);
  assert.equal(peer.bind.isBusy, false);
});

Deno.test("one of two carriers makes nobody wait; one that is gone neither", async () => {
  const { timers, peer, listener, dialer, endpoint } = await full();
  assert.equal(peer.bind.isBusy, true);
  const second = peer.bind.endpoint(new MemoryDialer(listener));
  second.open();
  await settle();
  assert.deepEqual([peer.bind.isBusy, peer.toldSent], [false, 1]);
  peer.bind.forget(second);
  assert.equal(peer.bind.isBusy, true);
  dialer.ends![1].close();
  await settle();
  assert.equal(endpoint.state, "waiting");
  assert.deepEqual([peer.bind.isBusy, peer.toldSent], [false, 2]);
  await timers.pass(4);
  assert.equal(peer.toldSent, 2);
});

Deno.test("who is not drained is not read, and nothing of it is lost", async () => {
  const { timers, hub, peer, endpoint, dialer } = site({ limits: { bytes: 1 << 20, ageMs: 1e9 } });
  hub.isBusy = true;
  endpoint.open();
  await settle();
  for (let i = 0; i < 600; i++) {
    peer.send(endpoint, bytes(1_000, i));
    await settle();
  }
  assert.equal(dialer.ends![1].isReading, false);
  // Silence is no reason to give up while it is this side that does not listen.
  await timers.pass(20_000);
  assert.equal(endpoint.state, "open");
  assert.equal(hub.told, 1);
  hub.isBusy = false;
  hub.drain();
  await settle();
  hub.drain();
  await settle();
  assert.deepEqual(
    hub.heard.map((h) => h.bytes[0]),
    Array.from({ length: 600 }, (_, i) => i & 255),
  );
});

Deno.test("a carrier with more than its share does not keep the others waiting", async () => {
  const { hub, peer, listener, endpoint } = site();
  const second = peer.bind.endpoint(new MemoryDialer(listener));
  endpoint.open();
  second.open();
  await settle();
  hub.isBusy = true;
  for (let i = 0; i < 100; i++) peer.bind.send(endpoint, bytes(100, 1), 0, 100, false);
  peer.bind.send(second, bytes(100, 2), 0, 100, false);
  peer.bind.flush();
  await settle();
  const order: number[] = [];
  const drained = hub.bind.drain((buffer, offset) => void order.push(buffer[offset]!));
  assert.equal(drained, 101);
  assert.equal(order.indexOf(2), 32);
});

Deno.test("what is no datagram ends the carrier, is counted, and said", async () => {
  const { hub } = site();
  const listener = new MemoryListener();
  hub.bind.listen(listener);
  const [stranger, accepted] = MemoryCarrier.pair();
  listener.accept(accepted);
  stranger.start({ chunk() {}, writable() {}, closed() {} });
  stranger.write(new TextEncoder().encode("\0\x05hello"), () => {});
  await settle();
  assert.equal(accepted.isClosed, true);
  assert.equal(accepted.closedFor, Farewell.Malformed);
  assert.equal(hub.bind.counters.badFrames, 1);
  assert.equal(hub.bind.carriers, 0);
});

/** Carriers of `holders`, in turn, that have come to a hub. */
function comers(hub: Side, holders: readonly string[]) {
  const listener = new MemoryListener();
  hub.bind.listen(listener);
  return holders.map((holder) => {
    const [client, accepted] = MemoryCarrier.pair(64 << 10, holder);
    client.start({ chunk() {}, writable() {}, closed() {} });
    listener.accept(accepted);
    return { client, accepted };
  });
}

Deno.test("carriers of two transports have one budget, and the holder of most loses its idlest, which is told and counted", async () => {
  const budget = new CarrierBudget({ carriers: 4, bytes: Infinity });
  const { hub, timers } = site({ budget });
  const other = new Side(timers, { budget, name: "other" });
  const [busy, idle] = comers(hub, ["a", "a"]);
  await timers.pass(1_000);
  comers(other, ["a", "a"]);
  const frame = new Uint8Array(34);
  frame[1] = 32;
  busy!.client.write(frame, () => {});
  await settle();
  const [third] = comers(other, ["b"]);
  await settle();
  assert.equal(idle!.accepted.closedFor, Farewell.Full);
  assert.deepEqual([busy, third].map((one) => one!.accepted.isClosed), [false, false]);
  assert.equal(hub.bind.counters.evicted, 1);
  assert.equal(budget.carriers, 4);
  assert.equal(hub.bind.accepted.size, 1);
});

Deno.test("who has its share is refused, and takes nothing from the others", async () => {
  const { hub } = site({ budget: new CarrierBudget({ carriers: 4, bytes: Infinity }) });
  const came = comers(hub, ["a", "a", "b", "b", "b"]);
  await settle();
  assert.deepEqual(came.map(({ accepted }) => accepted.closedFor), [
    ...Array(4).fill(undefined),
    Farewell.Full,
  ]);
  assert.equal(hub.bind.counters.refused, 1);
  came[2]!.client.close();
  await settle();
  const [next] = comers(hub, ["b"]);
  assert.equal(next!.accepted.isClosed, false);
});

Deno.test("what waits for a carrier, and what has come of one that is not read, counts", async () => {
  const budget = new CarrierBudget({ carriers: 4, bytes: 1 << 20 });
  const { hub } = site({ budget });
  const [one] = comers(hub, ["a"]);
  one!.accepted.isHeld = true;
  one!.accepted.unread = 100_000;
  const [endpoint] = hub.bind.accepted;
  for (let i = 0; i < 400; i++) hub.send(endpoint!, bytes(1_000));
  assert.ok(budget.bytes >= endpoint!.buffered - (16 << 10), `${budget.bytes}`);
  assert.ok(budget.bytes > 300_000);
  hub.isBusy = true;
  const { bytes: before } = budget;
  const frame = new Uint8Array(60_002);
  frame.set([60_000 >>> 8, 60_000 & 255]);
  for (let i = 0; i < 3; i++) one!.client.write(frame, () => {});
  await settle();
  assert.equal(one!.accepted.isReading, false);
  assert.ok(budget.bytes - before >= 100_000 + 3 * 60_000 - (16 << 10));
  one!.client.close();
  await settle();
  assert.equal(budget.bytes, 0);
  assert.equal(budget.holders, 0);
});

Deno.test("closing ends carriers and listeners, and waits for nobody", async () => {
  const { timers, hub, listener, endpoint, dialer } = site();
  endpoint.open();
  await settle();
  await hub.bind.close();
  assert.equal(listener.isClosed, true);
  assert.equal(dialer.ends![1].closedFor, Farewell.Closing);
  assert.equal(hub.bind.carriers, 0);
  await timers.pass(100);
  assert.equal(endpoint.state, "waiting");
});

Deno.test("to somebody whose carrier is gone nothing is sent, which is counted", async () => {
  const { hub, peer, endpoint, dialer } = site();
  endpoint.open();
  await settle();
  peer.send(endpoint, bytes(40));
  await settle();
  const { from } = hub.heard[0]!;
  dialer.ends![0].close();
  await settle();
  hub.send(from, bytes(40));
  assert.equal(hub.bind.counters.droppedNoCarrier, 1);
});
