/** A day of a gateway and its clients: whole engines, a network with faults, keys renewed all the time. */

import assert from "node:assert/strict";
import { ip } from "../netstack/packets.ts";
import { echoBehind, EchoClient, Pinger } from "./applications.ts";
import { EngineWorld, type SimEngine } from "./engine.ts";
import type { Impairments } from "./network.ts";
import { forSeedsInTurn, longSeeds } from "./seeds.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SITE = ip("10.50.0.1");

const USUAL: Impairments = {
  delay: 20,
  jitter: 3,
  loss: 0.01,
  reorder: 0.005,
  reorderBy: 3,
  duplicate: 0.005,
};

Deno.test("a day: every byte right, keys renewed, nothing left behind, and no turn for nothing", async () => {
  await forSeedsInTurn(longSeeds(3), day);
});

async function day(seed: number): Promise<void> {
  const world = new EngineWorld(seed);
  const { sim } = world;
  const gateway = world.engine({ address: "192.0.2.1", tunnel: ["10.9.0.1/24"] });
  echoBehind(gateway.engine.stack, gateway.proxy("10.50.0.0/16"));
  const client = (number: number, keepalive: number) => {
    const engine = world.engine({
      address: `198.51.100.${number}`,
      tunnel: [`10.9.0.${number}/24`],
      impairments: USUAL,
    });
    world.connect(engine, gateway, { behind: ["10.50.0.0/16"], keepalive });
    return engine;
  };
  const [phone, office, meter, sleeper] = [client(2, 25), client(3, 0), client(4, 0), client(5, 0)];
  const transfers: EchoClient[] = [];
  const transfer = (from: SimEngine, bytes: number) => {
    transfers.push(new EchoClient(from.connectTcp(SITE, 80), bytes, transfers.length));
  };
  /** Again and again, until the day is over. */
  const every = (least: number, most: number, run: () => void) => {
    const end = sim.now + DAY - 10 * MINUTE;
    const next = () => {
      run();
      const pause = least + sim.random.next() * (most - least);
      if (sim.now + pause < end) sim.after(pause, next);
    };
    sim.after(least, next);
  };
  // Always there, hardly used, elsewhere every other hour.
  every(50 * MINUTE, 70 * MINUTE, () => transfer(phone!, 20_000));
  let place = 0;
  every(2 * HOUR, 3 * HOUR, () => {
    place++;
    phone!.bind.move(`203.0.113.${place}`, 40_000 + place);
  });
  // Bursts, some of them several connections at once.
  every(5 * MINUTE, 15 * MINUTE, () => {
    const count = sim.random.between(1, 4);
    for (let i = 0; i < count; i++) transfer(office!, sim.random.between(1, 100_000));
  });
  // A question every half minute, with an outage in the afternoon.
  const questions = new Pinger(meter!.engine, SITE, 5000);
  every(30_000, 30_001, () => questions.ask(200));
  sim.at(sim.now + 15 * HOUR, () => Object.assign(meter!.bind.up, { loss: 1 }));
  sim.at(sim.now + 16 * HOUR, () => Object.assign(meter!.bind.up, { loss: USUAL.loss }));
  // Asleep most of the day, and behind a connection that it keeps all the time.
  const kept = new EchoClient(sleeper!.connectTcp(SITE, 22), 4_000, 77, { pauseAt: 2_000 });
  every(5 * HOUR, 6 * HOUR, () => transfer(sleeper!, 300_000));
  sim.at(sim.now + 23 * HOUR, () => kept.resume());

  sim.runFor(DAY);
  questions.close();
  sim.runFor(HOUR);

  transfers.push(kept);
  assert.ok(transfers.length > 200, `${transfers.length} transfers`);
  assert.deepEqual(transfers.filter(({ isRight }) => !isRight).map(({ error }) => error), []);
  assert.equal(questions.wrong, 0);
  // Two of a hundred are lost. Those of the outage wait for the handshake, and are answered after it.
  const { asked, answered } = questions;
  assert.ok(answered > 0.96 * asked && answered < asked, `${answered} of ${asked}`);
  world.assertClean({ udpFlows: true });

  // The phone's keepalives renew its key every 120 to 150 s, each attempt lost in 2 of 100 cases.
  const ofPhone = phone!.engine.device.counters;
  const expected = 25 * HOUR / (5 * 25_000);
  assert.ok(
    ofPhone.initiationsSent > 0.9 * expected && ofPhone.initiationsSent < 1.1 * expected,
    `${ofPhone.initiationsSent} handshakes, not ${expected}`,
  );
  assert.ok(ofPhone.keepalivesSent > 0.9 * 25 * HOUR / 25_000);
  const moves = gateway.events["endpoint-changed"]! - 4; // each heard for the first time
  assert.ok(moves >= place && moves < place + 10, `${moves} of ${place} moves`); // some back for a packet
  assert.ok(sleeper!.events["session-expired"]! >= 4, "its keys are wiped each time");
  const retries = meter!.events["handshake-retry"]!;
  assert.ok(retries > 650 && retries < 800, `${retries} retries, not one every 5 s of the outage`);
  for (const { engine, bind } of world.engines) {
    const { counters } = engine.device;
    // What the network does explains it: duplicates, and handshakes crossing.
    for (const [name, count] of Object.entries(counters)) {
      const isExpected = /^dropped(?:Replayed|ReplayedInitiation|UnknownIndex|Staged)$/.test(name);
      if (name.startsWith("dropped") && !isExpected) assert.equal(count, 0, name);
    }
    assert.ok(counters.droppedReplayed < 0.02 * counters.datagramsReceived + 5);
    // A turn for a datagram that comes, a timer, or something of the application's.
    const { turns, timeouts } = engine.counters;
    const causes = bind.counters.received + bind.counters.sent + timeouts;
    assert.ok(turns < 1.2 * causes, `${turns} turns, ${causes} causes`);
    assert.equal(bind.counters.overflowed, 0);
  }
  await world.close();
}
