import assert from "node:assert/strict";
import { PcapWriter, Sim, type SimHost, type SimPort } from "./network.ts";
import type { Impairments, LinkOptions } from "./link.ts";

/** Sends `count` numbered packets, one each `interval` ms, and notes what arrives when. */
function run(seed: number, options: LinkOptions, count = 1000, interval = 1) {
  const sim = new Sim(seed);
  const link = sim.link(options);
  const arrivals: { number: number; at: number; bytes: Uint8Array }[] = [];
  link.b.receive = (buffer, offset, length, now) => {
    const bytes = buffer.slice(offset, offset + length);
    arrivals.push({ number: bytes[0]! << 8 | bytes[1]!, at: now, bytes });
  };
  const start = sim.now;
  for (let i = 0; i < count; i++) {
    sim.at(start + i * interval, (now) => send(link.a, i, now));
  }
  sim.runFor(count * interval + 10_000);
  return { arrivals, start, link };
}

function send(port: SimPort, number: number, now: number): void {
  const slot = port.allocate();
  port.buffer.fill(0x45, slot, slot + 100);
  port.buffer[slot] = number >> 8;
  port.buffer[slot + 1] = number;
  port.transmit(port.buffer, slot, 100, now);
  port.endTurn();
}

function within(value: number, low: number, high: number): void {
  assert.ok(value >= low && value <= high, `${value} is not in ${low}..${high}`);
}

const EVERYTHING: Impairments = {
  delay: 20,
  jitter: 5,
  loss: 0.1,
  reorder: 0.1,
  reorderBy: 5,
  duplicate: 0.1,
  corrupt: 0.1,
  rate: 1e6,
  queue: 10,
};

Deno.test("a link without impairments delivers everything, in order and at once", () => {
  const { arrivals, start } = run(1, {});
  assert.deepEqual(arrivals.map(({ number }) => number), Array.from({ length: 1000 }, (_, i) => i));
  assert.deepEqual(arrivals.map(({ at }) => at - start), arrivals.map(({ number }) => number));
});

Deno.test("delay and rate add up: one packet's time on the line and the time to the other end", () => {
  // 100 bytes at 80 kbit/s: 10 ms.
  const { arrivals, start } = run(1, { impairments: { delay: 50, rate: 80_000 } }, 3, 0);
  assert.deepEqual(arrivals.map(({ at }) => at - start), [60, 70, 80]);
});

Deno.test("a full queue drops the newest", () => {
  const { arrivals, link } = run(1, { impairments: { rate: 80_000, queue: 4 } }, 10, 0);
  assert.deepEqual(arrivals.map(({ number }) => number), [0, 1, 2, 3, 4]);
  assert.equal(link.a.counters.overflowed, 5);
});

Deno.test("loss, duplication and corruption come as often as configured", () => {
  const impairments = { loss: 0.1, duplicate: 0.2, corrupt: 0.3 };
  const { arrivals, link } = run(7, { impairments }, 5000);
  within(link.a.counters.lost, 400, 600);
  within(link.a.counters.duplicated, 780, 1020);
  const damaged = arrivals.filter(({ bytes }) => bytes.subarray(2).some((byte) => byte !== 0x45));
  within(damaged.length, 1400, 1800);
});

Deno.test("a reordered packet falls back by as many places as allowed, and no further", () => {
  const { arrivals } = run(3, { impairments: { reorder: 0.03, reorderBy: 10 } }, 5000, 0.1);
  assert.equal(arrivals.length, 5000);
  const places = arrivals.map(({ number }, index) => index - number);
  within(places.filter((place) => place > 0).length, 100, 200);
  within(Math.max(...places), 8, 12);
});

Deno.test("directions may differ", () => {
  const sim = new Sim(1);
  const link = sim.link({ aToB: { delay: 10 }, bToA: { loss: 1 } });
  let arrived = 0;
  link.a.receive = () => assert.fail("everything from b is lost");
  link.b.receive = () => arrived = sim.now;
  const start = sim.now;
  sim.at(start, (now) => {
    send(link.a, 1, now);
    send(link.b, 1, now);
  });
  sim.runFor(100);
  assert.equal(arrived - start, 10);
});

Deno.test("the same seed gives the same trace, another seed another", () => {
  const trace = (seed: number) => {
    const { arrivals, start } = run(seed, { impairments: EVERYTHING });
    return arrivals.map(({ at, bytes }) => `${at - start} ${bytes}`).join("\n");
  };
  assert.equal(trace(42), trace(42));
  assert.notEqual(trace(42), trace(43));
});

Deno.test("slots are free again when the turn ends, and only then", () => {
  const { a: port } = new Sim(1).link({ slots: 2 });
  const first = port.allocate();
  const second = port.allocate();
  assert.equal(port.allocate(), -1);
  port.release(second);
  assert.equal(port.allocate(), second);
  port.transmit(port.buffer, first, 20, 0);
  assert.equal(port.allocate(), -1);
  port.endTurn();
  assert.equal(port.allocate(), first);
  assert.equal(port.slotsOut, 2);
});

Deno.test("a link refuses settings out of range", () => {
  const { a: port } = new Sim(1).link({ mtu: 1280 });
  const slot = port.allocate();
  assert.throws(() => port.transmit(port.buffer, slot, 1281, 0), /MTU 1280/);
  assert.throws(() => port.release(slot + 1), /not a slot/);
  port.release(slot);
  assert.throws(() => port.release(slot), /not a slot/);
  assert.throws(() => port.transmit(port.buffer, slot, 100, 0), /not a slot/);
});

Deno.test("the clock jumps to the hosts' deadlines and stops where it was told", () => {
  const sim = new Sim(1);
  const calls: number[] = [];
  const start = sim.now;
  let deadline = start + 250;
  const host: SimHost = {
    flush: () => false,
    pollTimeout: () => deadline,
    handleTimeout: (now) => {
      calls.push(now - start);
      deadline = now + 1000;
    },
  };
  sim.addHost(host);
  sim.runFor(3000);
  assert.deepEqual(calls, [250, 1250, 2250]);
  assert.equal(sim.now, start + 3000);
  assert.equal(sim.runUntil(() => calls.length === 4), true);
  assert.equal(sim.now, start + 3250);
});

Deno.test("a host that never lets the clock go on is found out", () => {
  const sim = new Sim(1);
  sim.addHost({ flush: () => false, pollTimeout: () => sim.now, handleTimeout: () => {} });
  assert.throws(() => sim.runFor(1), /the clock stands/);
});

Deno.test("a capture is a pcap file of raw IP packets", () => {
  const parts: number[] = [];
  const writer = new PcapWriter((bytes) => parts.push(...bytes));
  writer.write(1234.567, Uint8Array.of(0, 0x45, 1, 2, 3), 1, 4);
  writer.close();
  const file = Uint8Array.from(parts);
  const view = new DataView(file.buffer);
  assert.equal(view.getUint32(0, true), 0xa1b23c4d);
  assert.equal(view.getUint32(20, true), 101);
  assert.equal(view.getUint32(24, true), 1);
  assert.equal(view.getUint32(28, true), 234_567_000);
  assert.equal(view.getUint32(36, true), 4);
  assert.deepEqual([...file.subarray(40)], [0x45, 1, 2, 3]);
});
