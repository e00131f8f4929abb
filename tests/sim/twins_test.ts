/** Two agents for one prefix behind a hub, in simulated time: who has it, and what becomes of flows. */

import assert from "node:assert/strict";
import { parsePrefix } from "../../proxy/address.ts";
import { ip, udp } from "../netstack/packets.ts";
import { captureLog } from "../proxy/log/capture.ts";
import { echoBehind, EchoClient, Pinger } from "./applications.ts";
import { EngineWorld, type SimEngine } from "./engine.ts";
import type { Impairments } from "./network.ts";
import { forSeeds } from "./seeds.ts";
import { linesOf, useInTurn } from "./turns.ts";

const SHARED = "100.64.1.0/24";
const TARGET = ip("100.64.1.5");
const PORT = 80;

interface Options {
  readonly agents?: number;
  readonly impairments?: Impairments;
  /** Whether agents answer pings. Default: they do. */
  readonly isMute?: boolean;
}

/** A hub, agents that speak for one prefix in this order, and a client. */
function joined(seed: number, { agents: count = 2, impairments, isMute = false }: Options = {}) {
  const world = new EngineWorld(seed);
  const { sim } = world;
  const hub = world.engine({ address: "192.0.2.1", tunnel: ["10.9.0.1/24"], forwarding: true });
  const agents = Array.from({ length: count }, (_, i) => {
    const agent = world.engine({
      address: `198.51.100.${i + 2}`,
      tunnel: [`10.9.0.${i + 2}/24`],
      impairments: { delay: 10, ...impairments },
    });
    echoBehind(agent.engine.stack, agent.proxy(SHARED));
    return agent;
  });
  const client = world.engine({ address: "198.51.100.99", tunnel: ["10.9.0.99/24"] });
  world.connect(client, hub, { behind: [SHARED] });
  const peers = agents.map((agent) =>
    world.connect(agent, hub, {
      behind: isMute ? ["10.9.0.99/32"] : ["10.9.0.0/24"],
      keepalive: 10,
    })
      .ofGateway
  );
  hub.route(SHARED, hub.engine.nic1);
  const { twins, moves } = useInTurn(world, hub, peers, SHARED, {
    ...(isMute && { addresses: [ip("10.9.9.9")] }),
  });
  const lines = linesOf(agents, impairments?.loss);
  const connect = (bytes = 100, options = {}) =>
    new EchoClient(client.connectTcp(TARGET, PORT), bytes, 1, options);
  /** Connections that agents have taken. */
  const taken = () => agents.map(({ engine }) => engine.stack.tcp.counters.established);
  /** How long until a new connection gets through, ms, of one begun every 100 ms. */
  const untilThrough = (limit = 60_000) => {
    const from = sim.now;
    const all: EchoClient[] = [];
    let goesOn = true;
    const again = () => {
      if (!goesOn) return;
      all.push(connect());
      sim.after(100, again);
    };
    again();
    sim.runUntil(() => all.some(({ isRight }) => isRight), limit);
    goesOn = false;
    return sim.now - from;
  };
  sim.runFor(3_000);
  return {
    world,
    sim,
    hub,
    agents,
    client,
    peers,
    twins,
    moves,
    lines,
    connect,
    taken,
    untilThrough,
  };
}

function answersPer(client: SimEngine, sim: EngineWorld["sim"], everyMs: number) {
  const pinger = new Pinger(client.engine, TARGET, PORT);
  const ask = () => {
    pinger.ask(50);
    sim.after(everyMs, ask);
  };
  ask();
  return pinger;
}

Deno.test("a prefix goes to the next that is alive within 5 s, and back when the first is there to stay", () => {
  forSeeds(10, (seed) => {
    const { sim, moves, lines, untilThrough, twins, peers } = joined(seed);
    assert.ok(untilThrough() < 500);
    sim.runFor(sim.random.below(5_000));
    assert.deepEqual(moves, []);
    lines[0]!.cut();
    const paused = untilThrough();
    assert.ok(paused < 5_000, `${paused} ms`);
    assert.deepEqual(moves.map(({ to }) => to), [1]);
    assert.deepEqual(twins.of(peers[1]!), [{ prefix: SHARED, isHeld: true }]);
    assert.deepEqual(twins.of(peers[0]!), [{ prefix: SHARED, isHeld: false }]);
    sim.runFor(30_000);
    lines[0]!.mend();
    const mended = sim.now;
    assert.ok(sim.runUntil(() => moves.length === 2, 60_000));
    assert.deepEqual(moves.map(({ to }) => to), [1, 0]);
    assert.ok(sim.now - mended >= 10_000, `${sim.now - mended} ms: too early to be sure`);
    assert.ok(sim.now - mended <= 45_000, `${sim.now - mended} ms`);
    assert.ok(untilThrough() < 500);
  });
});

Deno.test("that none is alive is said once, whatever other peers come and go meanwhile", () => {
  const { sim, lines, twins, peers } = joined(1);
  using log = captureLog();
  const said = () => log.lines.filter((line) => /none of its 2 peers is heard/.test(line)).length;
  const others = () => twins.update([{ prefix: parsePrefix(SHARED)!, peers }]);
  lines.forEach((line) => line.cut());
  sim.runFor(20_000);
  assert.equal(said(), 1, log.lines.join(""));
  others();
  sim.runFor(20_000);
  assert.equal(said(), 1);
  lines[0]!.mend();
  sim.runFor(60_000);
  others();
  lines[0]!.cut();
  sim.runFor(20_000);
  assert.equal(said(), 2, "it was there in between");
});

Deno.test("connections and sessions that go by the second agent stay there when the first is back", () => {
  forSeeds(10, (seed) => {
    const { sim, moves, lines, client, connect, taken, agents } = joined(seed);
    lines[0]!.cut();
    assert.ok(sim.runUntil(() => moves.length === 1, 10_000));
    const held = connect(20_000, { pauseAt: 5_000 });
    const session = answersPer(client, sim, 1_000);
    assert.ok(sim.runUntil(() => held.received === 5_000, 5_000));
    lines[0]!.mend();
    assert.ok(sim.runUntil(() => moves.length === 2, 60_000));
    sim.runFor(20_000);
    const before = taken();
    const fresh = connect();
    assert.ok(sim.runUntil(() => fresh.isRight, 5_000), fresh.error);
    assert.deepEqual(taken().map((n, i) => n - before[i]!), [1, 0], "a new one is the first's");
    held.resume();
    assert.ok(sim.runUntil(() => held.hasEnded, 10_000));
    assert.ok(held.isRight, held.error);
    assert.equal(agents[0]!.engine.stack.counters.udp.received, 0, "the session stays too");
    assert.ok(session.asked - session.answered <= 2, `${session.asked - session.answered} lost`);
  });
});

Deno.test("a break of some seconds ends no connection, though new ones go elsewhere", () => {
  forSeeds(10, (seed) => {
    const { sim, moves, lines, connect } = joined(seed);
    const held = connect(20_000, { pauseAt: 5_000 });
    assert.ok(sim.runUntil(() => held.received === 5_000, 5_000));
    lines[0]!.cut();
    held.resume();
    assert.ok(sim.runUntil(() => moves.length === 1, 10_000));
    sim.runFor(2_000);
    lines[0]!.mend();
    assert.ok(sim.runUntil(() => held.hasEnded, 20_000));
    assert.ok(held.isRight, held.error);
  });
});

Deno.test("a connection of an agent that is dead is reset by its twin, and need not time out", () => {
  forSeeds(5, (seed) => {
    const { sim, moves, lines, connect } = joined(seed);
    const held = connect(2_000_000, { pauseAt: 5_000 });
    assert.ok(sim.runUntil(() => held.received === 5_000, 5_000));
    lines[0]!.cut();
    held.resume();
    assert.ok(sim.runUntil(() => moves.length === 1, 10_000));
    const at = sim.now;
    assert.ok(sim.runUntil(() => held.hasEnded, 60_000));
    assert.equal(held.error, "reset");
    assert.ok(sim.now - at < 30_000, `${sim.now - at} ms`);
  });
});

Deno.test("one that comes and goes has to stay longer each time", () => {
  forSeeds(5, (seed) => {
    const { sim, moves, lines } = joined(seed);
    const end = sim.now + 600_000;
    while (sim.now < end) {
      lines[0]!.cut();
      sim.runFor(12_000);
      lines[0]!.mend();
      sim.runFor(25_000);
    }
    assert.ok(moves.length <= 8, `${moves.length} moves in ten minutes of flapping`);
  });
});

Deno.test("when both are dead the prefix stays, and the first that is heard gets it at once", () => {
  forSeeds(10, (seed) => {
    const { sim, moves, lines, untilThrough } = joined(seed);
    lines[0]!.cut();
    lines[1]!.cut();
    sim.runFor(60_000);
    assert.ok(moves.length <= 1, "whoever was missed last");
    lines[1]!.mend();
    const mended = sim.now;
    const paused = untilThrough();
    assert.ok(paused < 35_000, `${paused} ms`);
    assert.equal(moves.at(-1)!.to, 1);
    assert.ok(sim.now - mended < 35_000);
  });
});

Deno.test("a line that loses every fifth packet each way does not flap", () => {
  forSeeds(4, (seed) => {
    const { sim, moves } = joined(seed, { impairments: { delay: 30, jitter: 20, loss: 0.2 } });
    sim.runFor(60_000); // the first handshakes may have got lost
    moves.splice(0);
    sim.runFor(1_800_000);
    assert.deepEqual(moves, [], "half an hour, and nobody was missed");
  });
});

Deno.test("agents that answer no ping are missed too, only later", () => {
  forSeeds(5, (seed) => {
    const { sim, moves, lines } = joined(seed, { isMute: true });
    sim.runFor(300_000);
    assert.deepEqual(moves, [], "silence means little");
    lines[0]!.cut();
    const at = sim.now;
    assert.ok(sim.runUntil(() => moves.length === 1, 60_000));
    assert.ok(sim.now - at < 45_000, `${sim.now - at} ms`);
  });
});

Deno.test("an agent alone whose line is cut for a minute is back within a second of its return", () => {
  forSeeds(10, (seed) => {
    const { sim, lines, client, connect } = joined(seed, { agents: 1 });
    const held = connect(20_000, { pauseAt: 5_000 });
    assert.ok(sim.runUntil(() => held.received === 5_000, 5_000));
    const pinger = answersPer(client, sim, 200);
    sim.runFor(sim.random.below(10_000));
    lines[0]!.cut();
    sim.runFor(60_000);
    const before = pinger.answered;
    lines[0]!.mend();
    const mended = sim.now;
    assert.ok(sim.runUntil(() => pinger.answered > before, 30_000));
    assert.ok(sim.now - mended < 1_000, `${sim.now - mended} ms`);
    held.resume();
    assert.ok(sim.runUntil(() => held.hasEnded, 90_000));
    assert.ok(held.isRight, held.error);
  });
});

Deno.test("of three the next that is alive has it, and the first of all in the end", () => {
  forSeeds(5, (seed) => {
    const { sim, moves, lines } = joined(seed, { agents: 3 });
    lines[0]!.cut();
    lines[1]!.cut();
    sim.runFor(15_000);
    assert.equal(moves.at(-1)!.to, 2);
    lines[1]!.mend();
    assert.ok(sim.runUntil(() => moves.at(-1)!.to === 1, 90_000));
    lines[0]!.mend();
    assert.ok(sim.runUntil(() => moves.at(-1)!.to === 0, 90_000));
    sim.runFor(60_000);
    assert.equal(moves.at(-1)!.to, 0);
  });
});

Deno.test("the agent that does not hold a prefix may send from it, and a stranger may not", () => {
  const { sim, hub, peers, agents, client, untilThrough } = joined(1);
  untilThrough(); // now the hub knows where the client is
  const before = hub.engine.device.counters.droppedInnerSource;
  const address = TARGET.bytes;
  const { device } = hub.engine;
  assert.deepEqual(peers.map((peer) => device.speaksFor(peer, address, 0, 4)), [true, true]);
  const [stranger] = [...device.peers()].filter((peer) => !peers.includes(peer));
  assert.equal(device.speaksFor(stranger!, address, 0, 4), false);
  // A longer prefix of one of them is its alone.
  peers[0]!.addAllowedIp({ address: ip("100.64.1.200").bytes, length: 32 });
  const own = ip("100.64.1.200").bytes;
  assert.deepEqual(peers.map((peer) => device.speaksFor(peer, own, 0, 4)), [true, false]);
  // From behind the second to the client, and back by the same way.
  const socket = client.engine.stack.bindUdp({ port: 7 });
  let answers = 3; // the other side is an echo, too
  socket.handler = {
    datagram(_endpoint, source, port, buffer, offset, length, now) {
      if (answers-- > 0) socket.send(source, port, buffer, offset, length, now);
    },
  };
  const packet = udp(`${TARGET}`, 5000, "10.9.0.99", 7, Uint8Array.of(1, 2, 3));
  for (let i = 0; i < 3; i++) {
    agents[1]!.engine.link.forward(packet.slice(), 0, packet.length, sim.now);
    agents[1]!.engine.wake();
    sim.runFor(500);
  }
  assert.deepEqual(agents.map(({ engine }) => engine.stack.counters.udp.received), [0, 3]);
  assert.equal(device.counters.droppedInnerSource, before);
});
