/** Whole engines with UDP and streams between them, while UDP is blocked, lossy, or comes and goes. */

import assert from "node:assert/strict";
import { StreamBind } from "../../proxy/bind/stream/mod.ts";
import { Callers } from "../../proxy/gateway/callers.ts";
import { Paths } from "../../proxy/gateway/paths/paths.ts";
import type { EchoClient } from "./applications.ts";
import type { SimEngine } from "./engine.ts";
import { site, transfer } from "./engine_site.ts";
import type { Impairments } from "./network.ts";
import { forSeedsInTurn, longSeeds } from "./seeds.ts";
import { SimStreamLine } from "./streams.ts";

/** Between steps promises are settled, which the simulation itself knows nothing of. */
const STEP_MS = 5;
const SEEDS = longSeeds(8);

/** A client, a hub with an echo behind it, UDP and a stream between them. */
class TwoWays {
  readonly line: SimStreamLine;
  readonly paths: Paths;
  readonly hub: SimEngine;
  readonly client: SimEngine;
  readonly #site;

  constructor(seed: number, udp: Impairments = { delay: 20, rate: 20e6, queue: 100 }) {
    let line: SimStreamLine | undefined;
    const timers = {
      now: () => line!.timers.now(),
      after: (delayMs: number, run: () => void) => line!.timers.after(delayMs, run),
    };
    const random = () => this.#site.sim.random.next();
    const ofHub = new StreamBind({ name: "stream", timers, random });
    const ofClient = new StreamBind({ name: "stream", timers, random });
    this.#site = site(seed, [{ impairments: udp, furtherBinds: [ofClient] }], {
      furtherBinds: [ofHub],
    });
    const { sim, gateway, clients } = this.#site;
    this.line = line = new SimStreamLine(sim, { delay: 20, rate: 20e6 });
    this.hub = gateway;
    this.client = clients[0]!;
    ofHub.listen(line.listener);
    const { engine } = this.client;
    this.paths = new Paths({
      now: () => engine.now(),
      wake: () => engine.wake(),
      tryElsewhere() {},
      switched: () => engine.stack.tcp.tryAgain(() => true, engine.now()),
    });
    engine.addTimeouts(this.paths);
    const [peer] = engine.device.peers();
    this.paths.setFallbacks(peer!, [ofClient.endpoint(line.dialer)]);
    this.client.onEvent = ({ type }) => {
      if (type === "handshake-failed") this.paths.of(peer!)!.handshakeGivenUp();
    };
  }

  get now(): number {
    return this.#site.sim.now;
  }

  /** What each side sends by. */
  get transports(): string[] {
    return [this.client, this.hub].map(({ engine }) => {
      const [peer] = engine.device.peers();
      return `${peer!.endpoint}`.startsWith("s") ? "stream" : "udp";
    });
  }

  get switches(): number {
    return [...this.paths.switches.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Of UDP: nothing passes, or everything. */
  block(isBlocked: boolean, way: "both" | "up" | "down" = "both"): void {
    const { up, down } = this.client.bind;
    if (way !== "down") up.loss = isBlocked ? 1 : 0;
    if (way !== "up") down.loss = isBlocked ? 1 : 0;
  }

  transfer(bytes: number): EchoClient {
    return transfer(this.client, bytes, 1);
  }

  /** @returns whether `done` held. */
  async run(ms: number, done: () => boolean = () => false): Promise<boolean> {
    for (const end = this.now + ms; this.now < end;) {
      if (done()) return true;
      this.#site.sim.runFor(STEP_MS);
      await new Promise<void>((resolve) => queueMicrotask(() => queueMicrotask(resolve)));
    }
    return done();
  }

  /** Runs, and looks how long at most nothing arrived by `transfer`. */
  async stallOf(transfer: EchoClient, ms: number): Promise<number> {
    let { received } = transfer;
    let at = this.now;
    let longest = 0;
    await this.run(ms, () => {
      if (transfer.received !== received) at = this.now;
      received = transfer.received;
      longest = Math.max(longest, this.now - at);
      return transfer.hasEnded;
    });
    return longest;
  }

  /** One short transfer after the other. @returns how long at most nothing arrived. */
  async exchange(ms: number): Promise<number> {
    let longest = 0;
    for (const end = this.now + ms; this.now < end;) {
      const going = this.transfer(50_000);
      longest = Math.max(longest, await this.stallOf(going, 30_000));
      assert.ok(going.isRight, going.error);
    }
    return longest;
  }

  async close(): Promise<void> {
    this.paths.close();
    let isClosed = false;
    const closing = this.#site.world.close().then(() => void (isClosed = true));
    await this.run(60_000, () => isClosed);
    await closing;
    for (const { engine } of [this.client, this.hub]) {
      assert.equal(engine.counters.faults, 0);
      assert.equal(engine.pool.free, engine.pool.slots);
    }
  }
}

Deno.test("UDP works: no stream is ever opened", async () => {
  const ways = new TwoWays(1);
  const going = ways.transfer(5_000_000);
  assert.ok(await ways.run(60_000, () => going.hasEnded));
  assert.ok(going.isRight, going.error);
  await ways.run(60_000);
  assert.equal(ways.line.dials, 0);
  await ways.close();
});

Deno.test("a keepalive that begins a session sends one initiation: a second one voids the answer to the first", async () => {
  const ways = new TwoWays(1);
  const { engine } = ways.client;
  const [peer] = engine.device.peers();
  peer!.setPersistentKeepalive(25, engine.now());
  engine.wake();
  await ways.run(1_000);
  assert.equal(engine.device.counters.initiationsSent, 1);
  assert.ok(peer!.hasSession);
  await ways.close();
});

Deno.test("UDP never works: connected by the stream in less than three seconds", async () => {
  const ways = new TwoWays(1);
  ways.block(true);
  const going = ways.transfer(500_000);
  assert.ok(await ways.run(5_000, () => going.received > 0));
  assert.ok(await ways.run(30_000, () => going.hasEnded));
  assert.ok(going.isRight, going.error);
  assert.deepEqual(ways.transports, ["stream", "stream"]);
  await ways.close();
});

Deno.test("UDP blocked in the middle: the transfer goes on by the stream, and comes back without a stall", async () => {
  await forSeedsInTurn(SEEDS, async (seed) => {
    const ways = new TwoWays(seed);
    const going = ways.transfer(60_000_000);
    await ways.run(4_000 + 137 * seed);
    ways.block(true);
    const stall = await ways.stallOf(going, 10_000);
    assert.deepEqual(ways.transports, ["stream", "stream"]);
    assert.ok(stall < 3_000, `a stall of ${stall} ms`);
    ways.block(false);
    const back = await ways.stallOf(going, 20_000);
    assert.deepEqual(ways.transports, ["udp", "udp"]);
    assert.ok(back < 500, `${back} ms on the way back`);
    assert.equal(ways.switches, 2);
    console.log(`seed ${seed}: nothing for ${stall} ms, and ${back} ms on the way back`);
    assert.ok(await ways.run(90_000, () => going.hasEnded));
    assert.ok(going.isRight, going.error);
    await ways.run(60_000);
    assert.equal(ways.line.open, 0, "the stream is closed after a while");
    await ways.close();
  });
});

for (const way of ["up", "down"] as const) {
  Deno.test(`UDP blocked in one direction (${way}): both sides use the stream, and stay there`, async () => {
    await forSeedsInTurn(SEEDS, async (seed) => {
      const ways = new TwoWays(seed);
      await ways.exchange(4_000 + 137 * seed);
      ways.block(true, way);
      const stall = await ways.exchange(12_000);
      assert.deepEqual(ways.transports, ["stream", "stream"]);
      assert.ok(stall < 3_000, `a stall of ${stall} ms`);
      const later = await ways.exchange(30_000);
      assert.ok(later < 500, `${later} ms while UDP is asked`);
      assert.deepEqual(ways.transports, ["stream", "stream"]);
      assert.equal(ways.switches, 1);
      console.log(`seed ${seed}, ${way}: nothing for ${stall} ms`);
      await ways.close();
    });
  });
}

Deno.test("a lossy line is not left", async () => {
  await forSeedsInTurn(SEEDS, async (seed) => {
    const ways = new TwoWays(seed, { delay: 20, loss: 0.2 });
    const going = ways.transfer(300_000);
    await ways.run(120_000, () => going.hasEnded);
    assert.equal(ways.transports[0], "udp");
    assert.ok(ways.switches <= 2, `${ways.switches} switches`);
    await ways.close();
  });
});

Deno.test("a line that is cut every few seconds: the stream is kept, and everything arrives", async () => {
  const ways = new TwoWays(2);
  const going = ways.transfer(40_000_000);
  for (let i = 0; i < 20; i++) {
    ways.block(i % 2 === 0);
    await ways.run(3_000);
  }
  assert.ok(ways.switches < 12, `${ways.switches} switches`);
  ways.block(false);
  assert.ok(await ways.run(120_000, () => going.hasEnded));
  assert.ok(going.isRight, going.error);
  await ways.close();
});

Deno.test("the stream breaks while UDP is blocked: it is opened again, and the session goes on", async () => {
  const ways = new TwoWays(3);
  ways.block(true);
  const going = ways.transfer(20_000_000);
  await ways.run(6_000);
  const handshakes = ways.client.events["handshake-complete"]!;
  ways.line.reset();
  assert.ok(await ways.run(60_000, () => going.hasEnded));
  assert.ok(going.isRight, going.error);
  assert.ok(ways.line.dials >= 2);
  assert.ok(ways.client.events["handshake-complete"]! <= handshakes + 2);
  await ways.close();
});

Deno.test("nobody is there: both are tried for as long as WireGuard tries, then nothing is open", async () => {
  const ways = new TwoWays(4);
  const going = ways.transfer(1_000);
  await ways.run(2_000, () => going.hasEnded);
  ways.block(true);
  ways.line.isUp = false;
  ways.transfer(1_000);
  await ways.run(300_000);
  const { dials } = ways.line;
  assert.ok(dials > 3 && dials < 40, `${dials} dials`);
  await ways.run(300_000);
  assert.ok(ways.line.dials <= dials + 3, "nobody asks any more");
  assert.equal(ways.transports[0], "udp");
  await ways.close();
});

Deno.test("an idle peer with a keepalive notices that UDP is blocked, and can be reached again", async () => {
  const ways = new TwoWays(1);
  const [peer] = ways.client.engine.device.peers();
  peer!.setPersistentKeepalive(25, ways.now);
  ways.client.engine.wake();
  await ways.run(60_000);
  assert.equal(ways.line.dials, 0);
  ways.block(true);
  await ways.run(30_000);
  assert.deepEqual(ways.transports, ["stream", "stream"]);
  ways.block(false);
  await ways.run(60_000);
  assert.deepEqual(ways.transports, ["udp", "udp"]);
  await ways.close();
});

Deno.test("so does an agent that asks its hub before each keepalive, which then is not due", async () => {
  await forSeedsInTurn(SEEDS, async (seed) => {
    const ways = new TwoWays(seed);
    const { engine } = ways.client;
    const [peer] = engine.device.peers();
    peer!.setPersistentKeepalive(10, ways.now);
    const callers = new Callers();
    callers.watch(peer!, true, engine.now());
    engine.addTimeouts(callers);
    engine.wake();
    await ways.run(60_000 + 2_370 * seed);
    assert.equal(ways.line.dials, 0);
    ways.block(true);
    await ways.run(15_000);
    assert.deepEqual(ways.transports, ["stream", "stream"]);
    ways.block(false);
    await ways.run(60_000);
    assert.deepEqual(ways.transports, ["udp", "udp"]);
    await ways.close();
  });
});

Deno.test("an idle peer without a keepalive opens nothing", async () => {
  const ways = new TwoWays(1);
  const going = ways.transfer(1_000);
  await ways.run(5_000, () => going.hasEnded);
  await ways.run(5_000);
  ways.block(true);
  await ways.run(600_000);
  assert.equal(ways.line.dials, 0);
  await ways.close();
});
