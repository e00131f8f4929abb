/** An engine with links beside WireGuard's: what comes by one reaches peers, targets and other links. */

import assert from "node:assert/strict";
import { FlowOwner } from "../../proxy/flow/flow.ts";
import type { LinkOptions } from "../../proxy/engine/link_port.ts";
import { parseInterfaceAddress } from "../../proxy/address.ts";
import { Nat } from "../../netstack/mod.ts";
import { icmp, ip, parse, udp, uint32 } from "../netstack/packets.ts";
import { echo, EchoClient } from "./applications.ts";
import { cable, type CableEnd, type CableOptions } from "./cable.ts";
import { errors, hasEnded, isRight, PORT, SITE, site, transfer } from "./engine_site.ts";
import type { EngineWorld, SimEngine } from "./engine.ts";
import { Random } from "./random.ts";
import { forSeeds } from "./seeds.ts";
import { ECHO, SimTargets, STALLED } from "./targets.ts";

interface Plugged {
  readonly host: SimEngine;
  readonly near: CableEnd;
  readonly far: CableEnd;
  readonly link: ReturnType<SimEngine["engine"]["addLink"]>;
  readonly owner: FlowOwner;
  readonly ended: (Error | undefined)[];
}

/** A host at the end of a cable, which is a link of `gateway`. */
function plug(
  world: EngineWorld,
  gateway: SimEngine,
  name: string,
  last: number,
  options: Partial<LinkOptions> & CableOptions = {},
): Plugged {
  const [near, far] = cable(world.sim, name, options);
  const host = world.engine({ address: `203.0.113.${last}`, tunnel: [] });
  const addresses = [`10.8.0.${last}/32`, `fd08::${last}/128`];
  const own = host.engine.addLink(far, {
    name: "up",
    mtu: 1500,
    addresses: addresses.map((text) => parseInterfaceAddress(text)!),
    forwarding: false,
  });
  host.route("0.0.0.0/0", own.nic);
  host.route("::/0", own.nic);
  const owner = new FlowOwner(() => `link ${name}`);
  const ended: (Error | undefined)[] = [];
  const link = gateway.engine.addLink(near, {
    name,
    mtu: 1500,
    forwarding: true,
    from: owner,
    onClosed: (error) => void ended.push(error),
    ...options,
  });
  for (const prefix of addresses) gateway.route(prefix, link.nic);
  return { host, near, far, link, owner, ended };
}

/** A gateway that passes on, with a peer and hosts on cables: `phone` and `car`. */
function crossing(seed: number, options: Partial<LinkOptions> & CableOptions = {}) {
  const all = site(seed, [{ forwarding: true }], { forwarding: true });
  const client = all.clients[0]!;
  const [hub] = client.engine.device.peers();
  for (const [address, length] of [["10.8.0.0", 16], ["fd08::", 64], ["10.70.0.0", 16]] as const) {
    hub!.addAllowedIp({ address: ip(address).bytes, length });
    client.route(`${address}/${length}`, client.engine.nic1);
  }
  const targets = new SimTargets(all.sim);
  const proxy = all.gateway.forward(targets, ["10.70.0.0/16"]);
  const phone = plug(all.world, all.gateway, "phone", 2, options);
  const car = plug(all.world, all.gateway, "car", 3);
  const warm = transfer(client, 10, 99); // the gateway knows then where the client is
  assert.ok(all.sim.runUntil(() => warm.hasEnded, 10_000));
  return { ...all, client, phone, car, proxy, targets };
}

Deno.test("what comes by a link reaches peers, the gateway's own NIC 2 and other links, and they reach it", () => {
  forSeeds(3, (seed) => {
    const { world, sim, gateway, client, phone, car, targets } = crossing(seed);
    for (const { engine } of [client, phone.host, car.host, gateway]) {
      engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
    }
    const transfers = [
      transfer(phone.host, 200_000, 1, ip("10.9.0.2")),
      transfer(phone.host, 50_000, 2, ip("fd09::2")),
      transfer(phone.host, 100_000, 3, SITE),
      transfer(phone.host, 100_000, 4, ip("10.8.0.3")),
      new EchoClient(phone.host.connectTcp(ip("10.70.0.1"), ECHO), 150_000, 5),
      transfer(client, 100_000, 6, ip("10.8.0.2")),
      transfer(client, 100_000, 7, ip("fd08::3")),
      transfer(car.host, 100_000, 8, ip("fd08::2")),
      transfer(gateway, 50_000, 10, ip("10.8.0.2")),
      transfer(phone.host, 50_000, 11, ip("10.9.0.1")),
      new EchoClient(car.host.connectTcp(ip("10.70.0.1"), ECHO), 150_000, 9),
    ];
    assert.ok(sim.runUntil(() => hasEnded(transfers), 60_000), `${errors(transfers)}`);
    assert.ok(isRight(transfers), `${errors(transfers)}`);
    const { counters } = phone.link.link;
    assert.ok(counters.bytesIn > 800_000 && counters.bytesOut > 800_000);
    sim.runFor(200_000);
    assert.equal(targets.open, 0);
    world.assertClean({ tcpListeners: true });
    assert.equal(phone.near.taken + phone.far.taken, 0);
    assert.equal(gateway.engine.links.length, 2);
  });
});

Deno.test("a link is told at a turn's end whether the next one has datagrams at hand", () => {
  const { sim, gateway, client, phone } = crossing(1);
  phone.near.mightHaveWaited = 0;
  const before = gateway.bind.counters.received;
  const socket = client.engine.stack.bindUdp({});
  for (let i = 0; i < 300; i++) {
    assert.ok(socket.send(ip("10.8.0.2"), 9, new Uint8Array(500), 0, 500, client.engine.now()));
  }
  client.engine.wake();
  sim.runFor(1_000);
  assert.equal(gateway.bind.counters.received - before, 300);
  // 128 in a turn: after the first and the second there are more.
  assert.equal(phone.near.mightHaveWaited, 2);
  assert.equal(phone.near.mayWait, false);
});

Deno.test("with a NAT a link's hosts appear as its address to peers and other links, and not to NIC 2", () => {
  forSeeds(3, (seed) => {
    const random = new Random(seed);
    const nat = new Nat({
      addresses: [ip("10.8.0.200"), ip("fd08::200")],
      random: (out) => random.fill(out),
    });
    const { world, sim, gateway, client, phone, car, proxy } = crossing(seed, { nat });
    const seen = new Set<string>();
    for (const { engine } of [client, car.host, gateway, phone.host]) {
      engine.stack.tcp.listen({ port: PORT }, {
        accepted: (endpoint) => {
          seen.add(`${endpoint.remote}`);
          echo(endpoint);
        },
      });
    }
    const transfers = [
      transfer(phone.host, 200_000, 1, ip("10.9.0.2")),
      transfer(phone.host, 50_000, 2, ip("fd09::2")),
      transfer(phone.host, 100_000, 3, ip("10.8.0.3")),
      new EchoClient(phone.host.connectTcp(ip("10.70.0.1"), ECHO), 150_000, 5),
    ];
    const sources = new Set<string>();
    sim.runUntil(() => {
      for (const { source } of proxy.admission.table.flows()) sources.add(`${source}`);
      return hasEnded(transfers);
    }, 60_000);
    assert.ok(isRight(transfers), `${errors(transfers)}`);
    assert.deepEqual([...seen].sort(), ["10.8.0.200", "fd08::200"]);
    assert.deepEqual([...sources], ["10.8.0.2"]);
    assert.equal(gateway.engine.stack.resources().natMappings, 3);
    const refused = transfer(client, 1, 6, ip("10.8.0.2"));
    const [inward] = [transfer(phone.host, 10, 7, ip("10.9.0.1"))]; // the gateway itself
    sim.runUntil(() => inward.hasEnded, 10_000);
    assert.ok(isRight([inward]));
    assert.ok(!refused.hasEnded && refused.received === 0, "nobody behind it is reached directly");
    assert.ok(nat.counters.direct > 0);
    phone.link.remove();
    sim.runFor(200_000);
    assert.equal(gateway.engine.stack.resources().natMappings, 0);
    const total = gateway.engine.stack.natCounters();
    assert.equal(total.mappings, nat.counters.mappings, "what a NAT has counted stays");
    world.close();
  });
});

Deno.test("a link's flows are its owner's", () => {
  const { world, sim, phone, proxy, client, gateway } = crossing(1);
  new EchoClient(phone.host.connectTcp(ip("10.70.0.1"), STALLED), 1e6, 1);
  new EchoClient(client.connectTcp(ip("10.70.0.1"), STALLED), 1e6, 1);
  sim.runFor(2_000);
  const flows = [...proxy.admission.table.flows()];
  assert.equal(flows.length, 2);
  assert.equal(flows.find(({ source }) => `${source}` === "10.8.0.2")!.owner, phone.owner);
  assert.notEqual(flows.find(({ source }) => `${source}` === "10.9.0.2")!.owner, phone.owner);
  assert.equal(gateway.owners!.ownerFrom(phone.owner), phone.owner);
  world.close();
});

Deno.test("a side that takes nothing holds its own connections back: no turn is wasted, nobody else waits", () => {
  const { world, sim, gateway, client, phone, car } = crossing(2);
  client.engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
  const held = Array.from({ length: 5 }, (_, i) => transfer(phone.host, 300_000, i));
  assert.ok(sim.runUntil(() => held.every(({ received }) => received > 20_000), 20_000));
  phone.far.isStalled = true;
  const before = phone.near.refusals;
  sim.runFor(300);
  assert.ok(phone.near.refusals > before, "full");
  const { turns } = gateway.engine.counters;
  sim.runFor(2_000);
  assert.ok(gateway.engine.counters.turns - turns < 200, "the engine sleeps");
  const going = [transfer(client, 400_000, 11), transfer(car.host, 400_000, 12, ip("10.9.0.2"))];
  const started = sim.now;
  assert.ok(sim.runUntil(() => hasEnded(going), 20_000));
  assert.ok(isRight(going));
  assert.ok(sim.now - started < 4_000, `${sim.now - started} ms`);
  assert.ok(held.every(({ hasEnded }) => !hasEnded));
  phone.far.resume();
  assert.ok(sim.runUntil(() => hasEnded(held), 60_000));
  assert.ok(isRight(held), `${errors(held)}`);
  sim.runFor(200_000);
  world.assertClean({ tcpListeners: true });
});

Deno.test("while the tunnel has no slot a link is not read, and nothing of it is lost", () => {
  const { world, sim, gateway, client, phone } = crossing(3);
  client.engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
  sim.runFor(1_000);
  const { pool } = gateway.engine;
  const taken: number[] = [];
  while (pool.free > 0) taken.push(pool.take());
  const before = phone.near.counters.packetsIn;
  const behind = transfer(phone.host, 20_000, 2, ip("10.9.0.2"));
  sim.runFor(500);
  assert.equal(phone.near.counters.packetsIn, before);
  for (const slot of taken) pool.give(slot);
  gateway.engine.wake();
  assert.ok(sim.runUntil(() => behind.hasEnded, 10_000));
  assert.equal(behind.error, undefined);
  assert.equal(gateway.engine.link.noSlot, 0);
  world.close();
});

for (const how of ["removed", "ended by itself"] as const) {
  Deno.test(`a link that is ${how} leaves nothing behind: no route, connection, flow or session`, () => {
    const { world, sim, gateway, client, phone, proxy, targets } = crossing(4);
    phone.host.engine.stack.tcp.listen({ port: PORT }, { accepted: echo });
    const lost = [
      transfer(phone.host, 5_000_000, 1),
      new EchoClient(phone.host.connectTcp(ip("10.70.0.1"), ECHO), 5_000_000, 2),
      new EchoClient(phone.host.connectTcp(ip("10.70.0.1"), STALLED), 5_000_000, 3),
      transfer(gateway, 5_000_000, 4, ip("10.8.0.2")),
    ];
    sim.runFor(100);
    phone.far.isStalled = true; // with packets on their way to it, and a full link
    sim.runFor(100);
    assert.ok(gateway.engine.stack.resources().tcpConnections >= 4);
    assert.ok(lost.every(({ hasEnded }) => !hasEnded));
    const problem = new Error("the other side is gone");
    if (how === "removed") phone.link.remove();
    else phone.near.fail(problem);
    assert.deepEqual(phone.ended, how === "removed" ? [] : [problem]);
    assert.ok(phone.near.isClosed);
    assert.equal(gateway.engine.links.length, 1);
    sim.runFor(1_000);
    const left = Object.entries(gateway.engine.stack.resources()).filter(([, count]) => count > 0);
    assert.deepEqual(left, []);
    assert.deepEqual([targets.open, proxy.tcp.size], [0, 0]);
    assert.equal(gateway.engine.counters.faults, 0);
    assert.equal(gateway.engine.stack.routes.lookupAddress(ip("10.8.0.2")), undefined);
    const after = transfer(client, 100_000, 5);
    assert.ok(sim.runUntil(() => after.hasEnded, 10_000));
    assert.equal(after.error, undefined);
    world.close();
  });
}

Deno.test("a link that is a cable keeps the hop limit, one that is a hop takes one off and answers for it", () => {
  for (const keepsHopLimit of [true, false]) {
    const { world, sim, gateway, client, phone } = crossing(5, { keepsHopLimit });
    const seen: number[] = [];
    client.engine.observe((direction, buffer, offset, length) => {
      const { protocol, hopLimit } = parse(buffer.slice(offset, offset + length));
      if (direction === "in" && protocol === 17) seen.push(hopLimit);
    });
    const answers: string[] = [];
    phone.near.other.onPacket = (bytes) => {
      const { source, protocol, payload } = parse(bytes);
      answers.push(`${source} ${protocol} ${payload[0]}`);
    };
    const send = (bytes: Uint8Array) => {
      phone.far.forward(bytes, 0, bytes.length);
      phone.far.flush(false);
      sim.runFor(200);
    };
    const data = Uint8Array.of(1, 2, 3);
    send(udp("10.8.0.2", 1, "10.9.0.2", 5, data, { hopLimit: 1 }));
    send(udp("10.8.0.2", 1, "10.9.0.2", 5, data, { hopLimit: 9 }));
    send(udp("fd08::2", 1, "fd09::2", 5, data, { hopLimit: 9 }));
    assert.deepEqual(seen, keepsHopLimit ? [1, 9, 9] : [8, 8]);
    // Out where it came in: it could go round for ever.
    gateway.route("10.77.0.0/16", phone.link.nic);
    answers.length = 0;
    send(udp("10.8.0.2", 1, "10.77.0.1", 5, data, { hopLimit: 3 }));
    assert.deepEqual(answers, ["10.8.0.2 17 0"]);
    assert.equal(gateway.engine.stack.counters.ip.hopLimitExceeded, keepsHopLimit ? 0 : 1);
    send(udp("10.8.0.2", 1, "10.77.0.1", 5, data, { hopLimit: 1 }));
    assert.equal(gateway.engine.stack.counters.ip.hopLimitExceeded, keepsHopLimit ? 1 : 2);
    world.close();
  }
});

Deno.test("what a link may not bring never reaches the stack; observers see both ways while they look", () => {
  const refused: number[] = [];
  const { world, sim, gateway, phone } = crossing(6, {
    accepts: (buffer, offset, length) => {
      const isRight = buffer[offset + 15] === 2;
      if (!isRight) refused.push(length);
      return isRight;
    },
  });
  const seen: string[] = [];
  const stop = phone.link.observe((direction) => void seen.push(direction));
  const ping = (source: string) => {
    const bytes = icmp(source, "10.9.0.1", 8, 0, uint32(0));
    phone.far.forward(bytes, 0, bytes.length);
    phone.far.flush(false);
    sim.runFor(100);
    return bytes.length;
  };
  const { received } = gateway.engine.stack.counters.ip;
  const length = ping("10.8.0.7");
  assert.deepEqual([refused, seen], [[length], []]);
  assert.equal(gateway.engine.stack.counters.ip.received, received);
  ping("10.8.0.2");
  assert.equal(gateway.engine.stack.counters.ip.received, received + 1);
  assert.equal(seen[0], "in");
  stop();
  const { length: count } = seen;
  ping("10.8.0.2");
  assert.equal(seen.length, count);
  assert.equal(phone.link.nic.link, phone.near);
  world.close();
});
