/** Clients and agents of several hubs, in simulated time: which one they use, and what becomes of flows. */

import assert from "node:assert/strict";
import { parsePrefix } from "../../proxy/address.ts";
import { ip } from "../netstack/packets.ts";
import { echoBehind, EchoClient } from "./applications.ts";
import { EngineWorld } from "./engine.ts";
import type { Impairments } from "./network.ts";
import { forSeeds } from "./seeds.ts";
import { linesOf, useInTurn } from "./turns.ts";

const TARGETS = "100.64.1.0/24";
const CLIENTS = "10.9.0.0/24";
const TARGET = ip("100.64.1.5");
const PORT = 80;

interface Options {
  /** One way, to each hub. */
  readonly delays?: readonly number[];
  readonly impairments?: Impairments;
}

/** Two hubs that know nothing of each other, an agent and two clients that have both. */
function joined(seed: number, { delays = [20, 20], impairments }: Options = {}) {
  const world = new EngineWorld(seed);
  const { sim } = world;
  const hubs = delays.map((delay, i) =>
    world.engine({
      address: `192.0.2.${i + 1}`,
      tunnel: [`10.9.1.${i + 1}/24`],
      forwarding: true,
      impairments: { delay, ...impairments },
    })
  );
  const agent = world.engine({ address: "198.51.100.2", tunnel: ["10.9.0.2/24"] });
  echoBehind(agent.engine.stack, agent.proxy(TARGETS));
  const clients = [10, 11].map((host) =>
    world.engine({ address: `198.51.100.${host}`, tunnel: [`10.9.0.${host}/24`] })
  );
  const ofAgent = hubs.map((hub) => {
    hub.route(TARGETS, hub.engine.nic1);
    const { ofClient, ofGateway } = world.connect(agent, hub, { keepalive: 10 });
    const { address, length } = parsePrefix(TARGETS)!;
    ofGateway.addAllowedIp({ address: address.bytes, length });
    return ofClient;
  });
  agent.route(CLIENTS, agent.engine.nic1);
  const turnsOfAgent = useInTurn(world, agent, ofAgent, CLIENTS, { calls: true });
  const turns = clients.map((client) => {
    const peers = hubs.map((hub) => world.connect(client, hub).ofClient);
    client.route(TARGETS, client.engine.nic1);
    return useInTurn(world, client, peers, TARGETS, { calls: true });
  });
  const lines = linesOf(hubs, impairments?.loss);
  const connect = (bytes = 100, client = 0, options = {}) =>
    new EchoClient(clients[client]!.connectTcp(TARGET, PORT), bytes, 1, options);
  /** Packets that each hub has passed on. */
  const passed = () => hubs.map(({ engine }) => engine.device.counters.packetsSent);
  return { world, sim, hubs, agent, clients, turns, turnsOfAgent, lines, connect, passed };
}

Deno.test("the nearest hub is used from the first packet on, whatever the order in the file", () => {
  forSeeds(5, (seed) => {
    for (const delays of [[60, 15], [15, 60]]) {
      const { sim, turns, turnsOfAgent, connect, passed } = joined(seed, { delays });
      const nearest = delays.indexOf(15);
      sim.runFor(1_000);
      assert.deepEqual(turns.map(({ holder }) => holder()), [nearest, nearest]);
      assert.equal(turnsOfAgent.holder(), nearest);
      const before = passed();
      const client = connect(20_000);
      assert.ok(sim.runUntil(() => client.isRight, 5_000));
      const after = passed();
      assert.ok(after[nearest]! - before[nearest]! > 20);
      assert.ok(after[1 - nearest]! - before[1 - nearest]! < 5);
      // It stays: neither time nor rekeys move it.
      sim.runFor(600_000);
      assert.ok(turns.every(({ moves }) => moves.length <= 1), JSON.stringify(turns[0]!.moves));
    }
  });
});

Deno.test("when the hub dies a connection goes on by the other within 5 s, and it is back when there to stay", () => {
  forSeeds(10, (seed) => {
    const { sim, turns, lines, connect } = joined(seed, { delays: [15, 60] });
    sim.runFor(2_000 + sim.random.below(5_000));
    const [turn] = turns as [typeof turns[number]];
    assert.equal(turn.holder(), 0);
    const client = connect(1_000_000, 0);
    sim.runFor(300);
    const taken = turns[0]!.moves.length;
    lines[0]!.cut();
    const cut = sim.now;
    assert.ok(sim.runUntil(() => turn.holder() === 1, 10_000), "no failover");
    assert.ok(sim.now - cut < 5_000, `${sim.now - cut} ms`);
    // TCP's own timer has doubled a few times meanwhile.
    const { received } = client;
    assert.ok(sim.runUntil(() => client.received > received, 60_000), "it stands still");
    assert.ok(sim.now - cut < 7_000, `it stood still for ${sim.now - cut} ms`);
    assert.ok(sim.runUntil(() => client.isRight, 60_000), "the connection did not survive");
    // A new one, at once.
    const other = connect();
    assert.ok(sim.runUntil(() => other.isRight, 1_000));
    sim.runFor(30_000);
    lines[0]!.mend();
    const mended = sim.now;
    assert.ok(sim.runUntil(() => turn.holder() === 0, 400_000), "not back");
    assert.ok(sim.now - mended >= 10_000, `${sim.now - mended} ms: too early to be sure`);
    assert.equal(turn.moves.length - taken, 2);
    const last = connect();
    assert.ok(sim.runUntil(() => last.isRight, 2_000));
  });
});

Deno.test("an agent is reached through each hub at once, and answers where it was asked", () => {
  forSeeds(5, (seed) => {
    const { world, sim, turns, connect, clients, hubs } = joined(seed);
    sim.runFor(2_000);
    // One client loses the way to the hub that it uses; the other does not.
    const used = turns[0]!.holder();
    world.network.block(hubs[used]!.options.address, clients[0]!.options.address);
    const going = connect(200_000, 0);
    assert.ok(sim.runUntil(() => turns[0]!.holder() !== used, 10_000));
    assert.equal(turns[1]!.holder(), used);
    const both = [connect(50_000, 0), connect(50_000, 1)];
    assert.ok(sim.runUntil(() => both.every(({ isRight }) => isRight), 10_000));
    assert.ok(sim.runUntil(() => going.isRight, 10_000));
  });
});

Deno.test("a client that is idle sends each hub a few packets a minute", () => {
  const { sim, clients, turns } = joined(1);
  sim.runFor(60_000);
  const before = clients[0]!.bind.counters.sent;
  sim.runFor(600_000);
  const perMinute = (clients[0]!.bind.counters.sent - before) / 10;
  assert.ok(perMinute < 2 * 8, `${perMinute} a minute`);
  assert.ok(perMinute > 2, `${perMinute} a minute: is nobody asked?`);
  assert.ok(turns[0]!.moves.length <= 1);
});
