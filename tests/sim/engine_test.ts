/** Whole engines against each other, in simulated time and over a network that is as bad as it likes. */

import assert from "node:assert/strict";
import { ip } from "../netstack/packets.ts";
import { echo, EchoClient, Pinger } from "./applications.ts";
import { errors, hasEnded, isRight, PORT, ROUGH, SITE, site, transfer } from "./engine_site.ts";
import { forSeeds } from "./seeds.ts";

Deno.test("TCP and UDP between whole engines over a rough network: every byte right, nothing left behind", () => {
  forSeeds(5, (seed) => {
    const { world, sim, gateway, clients } = site(seed, Array(3).fill({ impairments: ROUGH }));
    // From either end, to the tunnel's own addresses and to those behind it, in both families.
    const listener = clients[0]!.engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
    const transfers = [
      transfer(gateway, 60_000, 1, ip("10.9.0.2")),
      transfer(gateway, 20_000, 2, ip("fd09::2")),
      ...clients.flatMap((client, i) => [
        transfer(client, 100_000 * (i + 1), 10 + i),
        transfer(client, 30_000, 20 + i, ip("fd50::1")),
      ]),
    ];
    const pingers = clients.map(({ engine }) => new Pinger(engine, SITE, 5000));
    for (let i = 0; i < 50; i++) {
      sim.after(40 * i, () => pingers.forEach((pinger) => pinger.ask(4 + 97 * i)));
    }
    assert.ok(sim.runUntil(() => hasEnded(transfers), 120_000), `${errors(transfers)}`);
    sim.runFor(10_000);
    assert.ok(isRight(transfers), `${errors(transfers)}`);
    for (const { wrong, answered, asked } of pingers) {
      assert.deepEqual([wrong, asked], [0, 50]);
      assert.ok(answered > 25, `${answered} answers`); // of up to four fragments each way, 2 % lost
    }
    listener.close();
    pingers.forEach((pinger) => pinger.close());
    sim.runFor(200_000);
    world.assertClean({ udpFlows: true }); // which end when their forwarder says so
  });
});

Deno.test("the same seed, the same run; another seed, another", () => {
  const run = (seed: number) => {
    const { world, sim, clients } = site(seed, Array(2).fill({ impairments: ROUGH }));
    const transfers = clients.map((client, i) => transfer(client, 50_000, i));
    assert.ok(sim.runUntil(() => hasEnded(transfers), 60_000));
    return world.engines.map(({ bind, engine }) => [sim.now, bind.counters, engine.counters]);
  };
  assert.deepEqual(run(5), run(5));
  assert.notDeepEqual(run(5), run(6));
});

Deno.test("a client that roams keeps its connections, in the middle of a transfer and after an hour's sleep", () => {
  forSeeds(3, (seed) => {
    const { world, sim, gateway, clients: [client] } = site(seed, [{ impairments: ROUGH }]);
    const moving = transfer(client!, 2_000_000, 1);
    const sleeper = gateway.engine.stack.tcp; // holds the other end of both
    assert.ok(sim.runUntil(() => moving.received > 0, 60_000)); // the first initiation may be lost
    for (let i = 1; i <= 5; i++) {
      sim.after(400 * i, () => client!.bind.move(`203.0.113.${i}`, 50_000 + i));
    }
    assert.ok(sim.runUntil(() => moving.hasEnded, 120_000), "it ends");
    assert.equal(moving.error, undefined);
    // Not each move is noticed: in 400 ms nothing may have been sent, or all of it lost.
    assert.ok(gateway.events["endpoint-changed"]! >= 2, "first heard, and moved");
    // Idle for an hour: the session is gone, the connection is not.
    const idle = new EchoClient(client!.connectTcp(SITE, PORT), 100_000, 2, { pauseAt: 50_000 });
    assert.ok(sim.runUntil(() => idle.received === 50_000, 60_000));
    sim.runFor(3_600_000);
    assert.equal(sleeper.connectionCount, 1);
    assert.equal(client!.events["session-expired"], 1);
    client!.bind.move("203.0.113.77", 7);
    idle.resume();
    assert.ok(sim.runUntil(() => idle.hasEnded, 60_000));
    assert.equal(idle.error, undefined);
    const [peer] = gateway.engine.device.peers();
    assert.equal(`${peer!.endpoint}`, "203.0.113.77:7");
    sim.runFor(200_000);
    world.assertClean();
  });
});

Deno.test("an outage of a minute: what was on its way arrives when it is over", () => {
  const { world, sim, clients: [client] } = site(1, [{ impairments: { delay: 20 } }]);
  const going = transfer(client!, 3_000_000, 1);
  assert.ok(sim.runUntil(() => going.received > 200_000, 60_000));
  Object.assign(client!.bind.up, { loss: 1 });
  Object.assign(client!.bind.down, { loss: 1 });
  sim.runFor(60_000);
  assert.equal(going.hasEnded, false);
  Object.assign(client!.bind.up, { loss: 0 });
  Object.assign(client!.bind.down, { loss: 0 });
  assert.ok(sim.runUntil(() => going.hasEnded, 120_000));
  assert.equal(going.error, undefined);
  sim.runFor(200_000);
  world.assertClean();
});

Deno.test("a full socket holds the engine back, and it neither spins nor loses a packet of its own", () => {
  const rate = 20e6;
  const { world, sim, gateway, clients } = site(1, Array(8).fill({ impairments: { delay: 10 } }), {
    up: { rate },
    sendBuffer: 30_000,
  });
  const started = sim.now;
  const transfers = clients.flatMap((client, i) =>
    [0, 1].map((n) => transfer(client, 1e6, 2 * i + n))
  );
  let wasFull = 0;
  const { engine } = gateway;
  const look = () => {
    if (engine.pool.free === 0) wasFull++;
    if (!hasEnded(transfers)) sim.after(5, look);
  };
  look();
  assert.ok(sim.runUntil(() => hasEnded(transfers), 120_000), `${errors(transfers)}`);
  assert.ok(isRight(transfers), `${errors(transfers)}`);
  const seconds = (sim.now - started) / 1000;
  assert.ok(wasFull > 100, `without a free slot ${wasFull} times`);
  assert.ok(16e6 * 8 / seconds > 0.85 * rate, `${16e6 * 8 / seconds} bit/s`);
  // It is woken by what comes and by what has been sent, and is not asked for a turn for nothing.
  const { sent, received, noSlot } = gateway.bind.counters;
  assert.equal(noSlot, 0);
  assert.ok(engine.counters.turns < sent + received, `${engine.counters.turns} turns`);
  sim.runFor(200_000);
  world.assertClean();
});

Deno.test("an engine with too much to do loses what its socket has no room for, and goes on", () => {
  const { world, sim, gateway, clients } = site(2, Array(4).fill({ impairments: { delay: 5 } }), {
    datagramMs: 0.2, // 5,000 a second
    receiveBuffer: 60_000,
  });
  const transfers = clients.flatMap((client, i) =>
    [0, 1].map((n) => transfer(client, 1e6, 2 * i + n))
  );
  assert.ok(sim.runUntil(() => hasEnded(transfers), 120_000), `${errors(transfers)}`);
  assert.ok(isRight(transfers), `${errors(transfers)}`);
  assert.ok(gateway.bind.counters.overflowed > 0);
  sim.runFor(200_000);
  world.assertClean();
});

Deno.test("peers reach each other through the gateway where it forwards", () => {
  forSeeds(3, (seed) => {
    const { world, sim, clients: [one, two] } = site(
      seed,
      Array(2).fill({ impairments: ROUGH }),
      { forwarding: true },
    );
    // The hub's peers are behind it: what one allows it, the other has.
    for (const [client, other] of [[one!, "10.9.0.3"], [two!, "10.9.0.2"]] as const) {
      const [hub] = client.engine.device.peers();
      hub!.addAllowedIp({ address: ip(other).bytes, length: 32 });
      client.route(`${other}/32`, client.engine.nic1);
    }
    two!.engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
    const first = transfer(two!, 10, 1); // so that the gateway knows where it is
    assert.ok(sim.runUntil(() => first.hasEnded, 60_000));
    const through = transfer(one!, 300_000, 2, ip("10.9.0.3"));
    assert.ok(sim.runUntil(() => through.hasEnded, 60_000));
    assert.equal(through.error, undefined);
    sim.runFor(200_000);
    world.assertClean({ tcpListeners: true });
  });
});

Deno.test("several binds: a peer is answered by the one it was heard by, and may change", async () => {
  const { world, sim, gateway, clients } = site(1, Array(2).fill({ impairments: { delay: 10 } }), {
    alsoAt: ["192.0.2.9"],
  });
  const [first, second] = gateway.binds;
  const [hub] = clients[1]!.engine.device.peers();
  hub!.setEndpoint(clients[1]!.bind.endpoint("192.0.2.9", 51820));
  const transfers = clients.map((client, i) => transfer(client, 500_000, i));
  assert.ok(sim.runUntil(() => hasEnded(transfers), 60_000));
  assert.ok(isRight(transfers), `${errors(transfers)}`);
  for (const { counters } of [first!, second!]) {
    assert.ok(counters.sent > 300 && counters.received > 300);
  }
  // Moved in silence, or an answer still under way would take it back.
  const moving = new EchoClient(clients[0]!.connectTcp(SITE, PORT), 500_000, 3, { pauseAt: 1_000 });
  sim.runFor(1_000);
  const before = first!.counters.sent;
  const [hubOfFirst] = clients[0]!.engine.device.peers();
  hubOfFirst!.setEndpoint(clients[0]!.bind.endpoint("192.0.2.9", 51820));
  moving.resume();
  assert.ok(sim.runUntil(() => moving.hasEnded, 60_000));
  assert.equal(moving.error, undefined);
  assert.equal(first!.counters.sent, before);
  sim.runFor(200_000);
  world.assertClean();
  await world.close();
  for (const { engine } of world.engines) assert.equal(engine.pool.free, engine.pool.slots);
});

Deno.test("a bind with a defect is counted, and stops neither the other binds nor the timers", () => {
  const { sim, gateway, clients: [client] } = site(1, [{ impairments: { delay: 10 } }], {
    alsoAt: ["192.0.2.9"],
  });
  const [first] = gateway.binds;
  const defect = () => {
    throw new Error("a defect");
  };
  Object.assign(first!, { drain: defect, flush: defect });
  const [hub] = client!.engine.device.peers();
  hub!.setEndpoint(client!.bind.endpoint("192.0.2.9", 51820));
  const going = transfer(client!, 100_000, 1);
  assert.ok(sim.runUntil(() => going.hasEnded, 60_000));
  assert.equal(going.error, undefined);
  assert.ok(gateway.engine.counters.faults > 10);
  sim.runFor(200_000);
  assert.equal(gateway.engine.stack.resources().tcpConnections, 0, "its timers ran");
});
