import assert from "node:assert/strict";
import fc from "fast-check";
import type { Pace } from "../../../proxy/flow/pace.ts";
import { DATAGRAM, PacedWorld } from "./paced_world.ts";

/** A stream that always has more to send. */
class Bulk {
  moved = 0;
  cost = 0;
  readonly #world: PacedWorld;
  readonly #pace: Pace;
  #isOver = false;

  constructor(world: PacedWorld, pace: Pace) {
    this.#world = world;
    this.#pace = pace;
    pace.handler = { paceReady: () => this.#go() };
  }

  start(): this {
    this.#go();
    return this;
  }

  stop(): void {
    this.#isOver = true;
    this.#pace.close();
  }

  #go(): void {
    while (!this.#isOver) {
      const length = this.#pace.portion;
      if (!this.#pace.take(length, this.#world.now)) return;
      this.moved += length;
      this.cost += this.#pace.cost(length);
    }
  }
}

function near(value: number, expected: number, part: number, what = ""): void {
  assert.ok(Math.abs(value / expected - 1) <= part, `${what} ${value}, not ${expected}`);
}

const rate = fc.integer({ min: 50_000, max: 2_000_000_000 });
const burst = fc.double({ min: 0.01, max: 2, noNaN: true });

Deno.test("streams and datagrams together never have more than the rate and the burst, whenever they ask", () => {
  const ask = fc.record({
    wait: fc.double({ min: 0, max: 200, noNaN: true }),
    who: fc.nat(3),
    length: fc.integer({ min: 1, max: 9_000 }),
  });
  fc.assert(fc.property(
    rate,
    burst,
    fc.array(ask, { maxLength: 200 }),
    (rate, burst, asks) => {
      const world = new PacedWorld();
      const bucket = world.bucket(rate, burst);
      const stream = new Bulk(world, world.pace([bucket]));
      const datagrams = [0, 1, 2].map(() => world.pace([bucket], DATAGRAM));
      let passed = 0;
      let largest = 0;
      for (const { wait, who, length } of asks) {
        world.run(world.now + wait);
        if (who === 3) stream.start();
        else if (datagrams[who]!.admits(length, world.now)) passed += length;
        largest = Math.max(largest, length);
        const most = world.now * rate / 8_000 + Math.max(bucket.burst, largest) + 1;
        assert.ok(passed + stream.cost <= most, `${passed + stream.cost} of ${most}`);
        assert.ok(bucket.spent <= most);
      }
    },
  ));
});

Deno.test("streams that always have more get all of the rate, each the same, however late the timer", () => {
  fc.assert(
    fc.property(
      rate,
      fc.integer({ min: 1, max: 40 }),
      fc.double({ min: 0, max: 20, noNaN: true }),
      (rate, count, late) => {
        const world = new PacedWorld();
        const bucket = world.bucket(rate);
        const streams = Array.from({ length: count }, () => new Bulk(world, world.pace([bucket])));
        for (const stream of streams) stream.start();
        // As long as each has some turns.
        const end = Math.max(2_000, 40 * count * bucket.turn * 8_000 / rate);
        world.run(end, late);
        const total = streams.reduce((sum, { cost }) => sum + cost, 0);
        const all = end * rate / 8_000;
        assert.ok(total > 0.95 * all, `${total} of ${all}`);
        for (const { cost } of streams) {
          assert.ok(
            Math.abs(cost - total / count) <= 0.1 * total / count + bucket.burst,
            "the same",
          );
        }
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("a flow in several buckets keeps to each of them, and what one does not use others have", () => {
  const world = new PacedWorld();
  const [rule, big, small] = [world.bucket(20e6), world.bucket(50e6), world.bucket(4e6)];
  const limited = new Bulk(world, world.pace([small, rule])).start();
  const other = new Bulk(world, world.pace([big, rule])).start();
  world.run(10_000);
  near(limited.cost, 4e6 / 8 * 10, 0.03, "limited by its peer");
  near(other.cost, 16e6 / 8 * 10, 0.03, "limited by the rule");
});

Deno.test("of flows with places in two full buckets none is left out", () => {
  const world = new PacedWorld();
  const peers = [world.bucket(10e6), world.bucket(10e6)];
  const rules = [world.bucket(10e6), world.bucket(10e6)];
  const flows = peers.flatMap((peer) => rules.map((rule) => world.pace([peer, rule])));
  const bulks = flows.map((pace) => new Bulk(world, pace).start());
  world.run(10_000);
  for (const { cost } of bulks) near(cost, 5e6 / 8 * 10, 0.1);
});

Deno.test("a flow that takes little does not wait behind those that take all", () => {
  const world = new PacedWorld();
  const bucket = world.bucket(1e6);
  for (let i = 0; i < 20; i++) new Bulk(world, world.pace([bucket])).start();
  const small = world.pace([bucket]);
  let [asked, waited, worst] = [0, 0, 0];
  small.handler = {
    paceReady: () => {
      if (!small.take(100, world.now)) return;
      worst = Math.max(worst, world.now - asked);
    },
  };
  for (let at = 1_000; at < 10_000; at += 200) {
    world.run(at);
    asked = at;
    if (!small.take(100, at)) waited++;
  }
  world.run(11_000);
  assert.ok(worst < 30, `${worst} ms at worst, of ${waited} that waited`);
});

Deno.test("a datagram now and then passes beside streams that take all", () => {
  const world = new PacedWorld();
  const bucket = world.bucket(1e6);
  for (let i = 0; i < 10; i++) new Bulk(world, world.pace([bucket])).start();
  const lookups = world.pace([bucket], DATAGRAM);
  let passed = 0;
  for (let at = 1_000; at < 11_000; at += 1_000) {
    world.run(at);
    if (lookups.admits(80, at)) passed++;
  }
  assert.equal(passed, 10);
});

Deno.test("datagrams that come faster than their rate are dropped down to it, and share it with streams", () => {
  const world = new PacedWorld();
  const bucket = world.bucket(10e6);
  const stream = new Bulk(world, world.pace([bucket]));
  const flood = world.pace([bucket], DATAGRAM);
  let passed = 0;
  const send = (from: number, to: number) => {
    passed = 0;
    for (let at = from; at < to; at += 0.2) { // 50 Mbit/s
      world.run(at);
      if (flood.admits(1_250, at)) passed += 1_250;
    }
  };
  send(0, 10_000);
  near(passed, 10e6 / 8 * 10, 0.05, "alone");
  stream.start();
  send(10_000, 20_000);
  near(passed, 5e6 / 8 * 10, 0.1, "beside a stream");
  near(stream.cost, 5e6 / 8 * 10, 0.1, "the stream");
});

Deno.test("a rate that changes holds at once, for those that wait as well", () => {
  const world = new PacedWorld();
  const bucket = world.bucket(10e3);
  const stream = new Bulk(world, world.pace([bucket])).start();
  world.run(10_000);
  const before = stream.cost;
  bucket.setRate({ rate: 80e6, burst: 0.2 }, world.now);
  world.run(11_000);
  const kept = bucket.burst / 4; // for others
  near(stream.cost - before, 10e6 - kept, 0.02, "after 10 kbit/s");
  bucket.setRate({ rate: 8e6, burst: 0.2 }, world.now);
  const faster = stream.cost;
  world.run(21_000);
  near(stream.cost - faster, 10e6, 0.03, "after 80 Mbit/s");
});

Deno.test("a flow whose limit is taken away goes on at once", () => {
  const world = new PacedWorld();
  const pace = world.pace([world.bucket(10e3)]);
  let isReady = false;
  pace.handler = { paceReady: () => isReady = true };
  while (pace.take(1_000, world.now));
  pace.setBuckets([]);
  world.run(world.now);
  assert.ok(isReady);
  assert.ok(pace.take(1_000, world.now));
});

Deno.test("what a flow that is over had waits for nobody", () => {
  const world = new PacedWorld();
  const bucket = world.bucket(1e6);
  const streams = [0, 1, 2].map(() => new Bulk(world, world.pace([bucket])).start());
  world.run(1_000);
  streams[0]!.stop();
  streams[1]!.stop();
  assert.equal(bucket.waiting, 1);
  const before = streams[2]!.cost;
  world.run(11_000);
  near(streams[2]!.cost - before, 1e6 / 8 * 10, 0.03);
  streams[2]!.stop();
  assert.equal(bucket.waiting, 0);
  world.run(12_000);
  assert.equal(bucket.deadline, Infinity);
});

Deno.test("a packet larger than the bucket passes when it is full, and is paid for afterwards", () => {
  const world = new PacedWorld();
  const bucket = world.bucket(80_000, 0); // 10 bytes a ms
  const pace = world.pace([bucket], { header: 0, payload: 65_535 });
  const large = 3 * bucket.burst;
  assert.ok(pace.admits(large, 0));
  assert.ok(!pace.admits(large, 1));
  const again = large / 10;
  world.run(again - 1);
  assert.ok(!pace.admits(100, again - bucket.burst / 10 - 1));
});
