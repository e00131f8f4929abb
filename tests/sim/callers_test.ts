/** An agent and a hub that has forgotten it, in simulated time. */

import assert from "node:assert/strict";
import { Callers } from "../../proxy/gateway/callers.ts";
import { ip } from "../netstack/packets.ts";
import { Pinger } from "./applications.ts";
import { EngineWorld } from "./engine.ts";
import { forSeeds } from "./seeds.ts";

function called(seed: number, loss = 0) {
  const world = new EngineWorld(seed);
  const { sim } = world;
  const hub = world.engine({ address: "192.0.2.1", tunnel: ["10.9.0.1/24"] });
  const agent = world.engine({
    address: "198.51.100.2",
    tunnel: ["10.9.0.2/24"],
    impairments: { delay: 20, loss },
  });
  const { ofClient, ofGateway } = world.connect(agent, hub, { keepalive: 10 });
  const callers = new Callers();
  callers.watch(ofClient, true, sim.now);
  agent.engine.addTimeouts(callers);
  agent.engine.wake();
  /** As after a start with nothing remembered. */
  const forget = () => {
    const { device } = hub.engine;
    for (const peer of [...device.peers()]) device.removePeer(peer, sim.now);
    return hub.addPeer(agent, { prefixes: agent.hosts });
  };
  return { sim, hub, agent, ofClient, ofGateway, forget };
}

Deno.test("a hub that has forgotten an agent is found out within 15 s, and can reach it", () => {
  forSeeds(20, (seed) => {
    const { sim, hub, agent, forget } = called(seed);
    sim.runFor(30_000 + sim.random.below(20_000));
    const handshakes = agent.events["handshake-complete"];
    const peer = forget();
    const start = sim.now;
    assert.ok(sim.runUntil(() => agent.events["handshake-complete"]! > handshakes!, 60_000));
    assert.ok(sim.now - start < 15_000, `${sim.now - start} ms`);
    assert.ok(sim.runUntil(() => peer.endpoint !== undefined, 1_000));
    const socket = agent.engine.stack.bindUdp({ port: 7 });
    socket.handler = {
      datagram: (_endpoint, source, port, buffer, offset, length, now) =>
        void socket.send(source, port, buffer, offset, length, now),
    };
    const pinger = new Pinger(hub.engine, ip("10.9.0.2"), 7);
    pinger.ask(50);
    assert.ok(sim.runUntil(() => pinger.answered === 1, 1_000));
  });
});

Deno.test("an idle agent costs a question and an answer for each keepalive, and no handshake more", () => {
  const { sim, hub, agent } = called(1);
  sim.runFor(5_000);
  const sent = [hub, agent].map(({ bind }) => bind.counters.sent);
  const { keepalivesSent } = agent.engine.device.counters;
  sim.runFor(600_000);
  const more = [hub, agent].map(({ bind }, i) => bind.counters.sent - sent[i]!);
  assert.ok(more.every((count) => count >= 58 && count <= 75), `${more} packets in ten minutes`);
  assert.ok(agent.engine.device.counters.keepalivesSent - keepalivesSent <= 6);
  assert.ok(agent.events["handshake-complete"]! <= 7, "as WireGuard's own timers have it");
});

Deno.test("a line that loses every fifth packet does not make an agent shake hands again and again", () => {
  const { sim, agent } = called(2, 0.2);
  sim.runFor(1_800_000);
  const count = agent.events["handshake-complete"]!;
  assert.ok(count <= 30, `${count} in half an hour, of which 15 are due`);
});
