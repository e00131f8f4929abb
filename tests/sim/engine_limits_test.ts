/** Limits of peers in whole engines: what their flows get, and what that costs those beside them. */

import assert from "node:assert/strict";
import { Prefix } from "../../netstack/mod.ts";
import type { OwnerLimits } from "../../proxy/flow/limits.ts";
import type { RuleOptions } from "../../proxy/flow/rule.ts";
import { icmp, ip } from "../netstack/packets.ts";
import { EchoClient, Pinger } from "./applications.ts";
import type { SimEngine, SimEngineOptions } from "./engine.ts";
import { site } from "./engine_site.ts";
import { ECHO, SimTargets, SINK, SOURCE } from "./targets.ts";

const TARGET = ip("10.70.0.1");
/** Of the gateway's way out, and in. */
const LINK = 100e6;
/** The part of a full packet in the tunnel that is a stream's: 1420 bytes with 52 of header. */
const PAYLOAD = 1_368 / 1_420;
const BURST = 0.2;

function rate(bits: number) {
  return { rate: bits, burst: BURST };
}

/** A gateway on a link of 100 Mbit/s, and a client for each of `limits`. */
function limited(limits: readonly OwnerLimits[], options: Partial<SimEngineOptions> = {}) {
  const all = site(1, limits.map(() => ({ impairments: { delay: 5 } })), {
    impairments: { rate: LINK },
    ...options,
  });
  const targets = new SimTargets(all.sim, { bytesPerMs: 50_000 });
  const proxy = all.gateway.forward(targets, ["10.70.0.0/16", "fd70::/64"]);
  const peers = [...all.gateway.engine.device.peers()];
  all.clients.forEach((client, i) => {
    const [hub] = client.engine.device.peers();
    hub!.addAllowedIp({ address: TARGET.bytes, length: 16 });
    hub!.addAllowedIp({ address: ip("fd70::").bytes, length: 64 });
    for (const subnet of ["10.70.0.0/16", "fd70::/64"]) client.route(subnet, client.engine.nic1);
    set(i, limits[i]!);
  });
  function set(i: number, limits: OwnerLimits) {
    const peer = peers[i]!;
    proxy.setLimits(all.gateway.owners!.ofPeer(peer), limits);
  }
  return { ...all, proxy, targets, set };
}

/** More than it can get. */
function bulk(from: SimEngine, seed: number, bytes = 1e9) {
  return new EchoClient(from.connectTcp(TARGET, ECHO), bytes, seed);
}

/** Bits of packets in the tunnel a second, from a stream's bytes. */
function bitrate(bytes: number, ms: number): number {
  return bytes / PAYLOAD * 8_000 / ms;
}

function assertNear(value: number, expected: number, part: number, what: string): void {
  const figure = `${(value / 1e6).toFixed(2)} Mbit/s, not ${expected / 1e6}`;
  assert.ok(Math.abs(value / expected - 1) <= part, `${what}: ${figure}`);
}

Deno.test("a peer with 10 Mbit/s down gets them within 5 %, and its datagrams beside do not wait", () => {
  const { sim, clients: [client] } = limited([{ down: rate(10e6) }]);
  const stream = bulk(client!, 1);
  const pings = new Pinger(client!.engine, TARGET, 5000);
  for (let at = 500; at < 10_000; at += 50) sim.after(at, () => pings.ask(64));
  sim.runFor(10_500);
  assertNear(bitrate(stream.received, 10_500), 10e6, 0.05, "down");
  const slowest = pings.delays.toSorted((a, b) => a - b).at(Math.floor(0.99 * pings.answered));
  assert.equal(pings.answered, pings.asked);
  assert.ok(slowest! < 50, `${slowest} ms`);
});

Deno.test("a peer with 10 Mbit/s up: the window slows it down, nothing is lost", () => {
  const { sim, clients: [client], proxy } = limited([{ up: rate(10e6) }]);
  const stream = bulk(client!, 1);
  const pings = new Pinger(client!.engine, TARGET, 5000);
  for (let at = 500; at < 5_000; at += 50) sim.after(at, () => pings.ask(64));
  sim.runFor(5_500);
  const [flow] = proxy.admission.table.flows();
  assertNear(bitrate(flow!.bytesUp, 5_500), 10e6, 0.05, "up");
  assertNear(bitrate(stream.received, 5_500), 10e6, 0.05, "what comes back");
  assert.equal(pings.answered, pings.asked);
  assert.ok(Math.max(...pings.delays) < 50, `${Math.max(...pings.delays)} ms`);
  assert.equal(client!.engine.stack.counters.tcp.retransmits, 0);
});

Deno.test("two peers with 10 and 20 Mbit/s get theirs beside one without a limit that fills the link", () => {
  const { sim, clients } = limited([{ down: rate(10e6) }, { down: rate(20e6) }, {}]);
  const streams = clients.map((client, i) => bulk(client, i));
  sim.runFor(1_000);
  const before = streams.map(({ received }) => received);
  sim.runFor(3_000);
  const rates = streams.map(({ received }, i) => bitrate(received - before[i]!, 3_000));
  assertNear(rates[0]!, 10e6, 0.05, "the first");
  assertNear(rates[1]!, 20e6, 0.05, "the second");
  assert.ok(rates[2]! > 50e6, `${rates[2]! / 1e6} Mbit/s for the third`);
});

Deno.test("a peer's flows share its rate: ten streams the same each, a small one among them at once", () => {
  const { sim, clients: [client] } = limited([{ down: rate(10e6) }]);
  const streams = Array.from({ length: 10 }, (_, i) => bulk(client!, i));
  sim.runFor(2_000);
  const before = streams.map(({ received }) => received);
  sim.runFor(4_000);
  const small = new EchoClient(client!.connectTcp(TARGET, ECHO), 500, 99);
  const rates = streams.map(({ received }, i) => bitrate(received - before[i]!, 4_000));
  assertNear(rates.reduce((sum, each) => sum + each), 10e6, 0.05, "together");
  for (const each of rates) assertNear(each, 1e6, 0.15, "each");
  const start = sim.now;
  assert.ok(sim.runUntil(() => small.hasEnded, 5_000));
  assert.ok(small.isRight && sim.now - start < 150, `${sim.now - start} ms`);
});

Deno.test("a rate that changes, comes and goes while bytes flow: at once, and every byte is right", () => {
  const { sim, clients: [client], set, world, proxy } = limited([{}]);
  const stream = bulk(client!, 1, 30e6);
  sim.runFor(500);
  const measure = (ms: number) => {
    const before = stream.received;
    sim.runFor(ms);
    return bitrate(stream.received - before, ms);
  };
  set(0, { down: rate(8e6) });
  measure(1_000); // what was on its way
  assertNear(measure(2_000), 8e6, 0.05, "limited");
  set(0, { down: rate(16e6) });
  measure(500);
  assertNear(measure(1_000), 16e6, 0.05, "doubled");
  set(0, { up: rate(4e6) });
  measure(2_000);
  assertNear(measure(2_000), 4e6, 0.1, "the other way");
  set(0, {});
  assert.ok(sim.runUntil(() => stream.hasEnded, 20_000), `${stream.received}`);
  assert.equal(stream.error, undefined);
  sim.runFor(200_000);
  assert.deepEqual([...proxy.admission.table.flows()], []);
  world.assertClean();
});

Deno.test("datagrams faster than a rate are dropped early and counted, down to the rate", () => {
  const { sim, clients: [client], proxy } = limited([{ up: rate(4e6) }]);
  const flood = new Pinger(client!.engine, TARGET, 5000);
  for (let at = 0; at < 4_000; at++) sim.after(at, () => flood.ask(1_000)); // 8 Mbit/s
  sim.runFor(4_500);
  const { datagramsUp, overRate } = proxy.udp.counters;
  assertNear(datagramsUp * 1_028 * 8 / 4, 4e6, 0.06, "up");
  assert.equal(datagramsUp + overRate, 4_000);
  assert.equal(flood.answered, datagramsUp);
  flood.close();
});

/** A rule for everything, with these limits. */
function rule(limits: Pick<RuleOptions, "rate" | "flowRate" | "maxConnections">) {
  const everything = { from: [], to: [], ports: [], action: "allow", warmConnections: 0 } as const;
  return { rules: [{ ...everything, ...limits }], defaultAction: "allow" } as const;
}

Deno.test("flows of a rule share its rate whoever they are from, and none has more than its own", () => {
  const { sim, clients, proxy } = limited([{}, {}, { down: rate(1e6) }]);
  proxy.admission.setRules(rule({ rate: 20e6, flowRate: 8e6 }));
  const streams = clients.map((client, i) => bulk(client, i));
  sim.runFor(1_000);
  const measure = (ms: number) => {
    const before = streams.map(({ received }) => received);
    sim.runFor(ms);
    return streams.map(({ received }, i) => bitrate(received - before[i]!, ms));
  };
  const rates = measure(3_000);
  assertNear(rates[0]!, 8e6, 0.05, "each");
  assertNear(rates[1]!, 8e6, 0.05, "each");
  assertNear(rates[2]!, 1e6, 0.1, "by its peer");
  proxy.admission.setRules(rule({ rate: 5e6 }));
  proxy.review();
  measure(1_000);
  const shared = measure(4_000);
  assertNear(shared[0]!, 2e6, 0.1, "shared");
  assertNear(shared[1]!, 2e6, 0.1, "shared");
  assertNear(shared[2]!, 1e6, 0.1, "by its peer");
});

Deno.test("a rule's rate is that of each way by itself: what goes up, and beside it what comes down", () => {
  const { sim, clients: [one, other], proxy } = limited([{}, {}]);
  proxy.admission.setRules(rule({ rate: 5e6 }));
  const bytes = { up: 0, down: 0 };
  const measure = (ms: number) => {
    const sum = (direction: "up" | "down") =>
      proxy.admission.table.flows().reduce(
        (sum, { bytesUp, bytesDown }) => sum + (direction === "up" ? bytesUp : bytesDown),
        0,
      );
    const before = { ...bytes };
    sim.runFor(ms);
    Object.assign(bytes, { up: sum("up"), down: sum("down") });
    return {
      up: bitrate(bytes.up - before.up, ms),
      down: bitrate(bytes.down - before.down, ms),
    };
  };
  new EchoClient(one!.connectTcp(TARGET, SINK), 1e9, 1);
  measure(1_000);
  const alone = measure(3_000);
  assertNear(alone.up, 5e6, 0.05, "up alone");
  assert.equal(alone.down, 0);
  new EchoClient(other!.connectTcp(TARGET, SINK), 1e9, 2);
  for (const client of [one!, other!]) {
    new EchoClient(client.connectTcp(TARGET, SOURCE), 1e9, 3, { pauseAt: 1 });
  }
  measure(1_000);
  const both = measure(4_000);
  assertNear(both.up, 5e6, 0.05, "up, of two");
  assertNear(both.down, 5e6, 0.05, "down beside it");
});

/** Small, so that headers are half of a packet: bytes of data, of IP and UDP. */
const SMALL = [
  { version: 4, target: TARGET, data: 28, headers: 28 },
  { version: 6, target: ip("fd70::1"), data: 48, headers: 48 },
] as const;

for (const { version, target, data, headers } of SMALL) {
  for (const direction of ["up", "down"] as const) {
    Deno.test(`a peer's rate ${direction} counts IPv${version} packets with their headers, where those are half`, () => {
      const [bits, seconds] = [1e6, 4];
      const { sim, clients: [client], proxy } = limited([{ [direction]: rate(bits) }]);
      const packet = (data + headers) * 8;
      const count = Math.round(2 * bits * seconds / packet); // twice as many as may pass
      const flood = new Pinger(client!.engine, target, 5000);
      for (let i = 0; i < count; i++) sim.after(i * seconds * 1_000 / count, () => flood.ask(data));
      sim.runFor(seconds * 1_000);
      const { datagramsUp, datagramsDown, overRate } = proxy.udp.counters;
      const passed = direction === "up" ? datagramsUp : datagramsDown;
      assertNear(passed * packet / seconds, bits, 0.06, direction); // and what a burst may have
      assert.ok(overRate > count / 3, `${overRate} of ${count} dropped`);
      flood.close();
    });
  }
}

Deno.test("connections beyond a limit of the peer or the rule are reset, and a lower one ends the idlest", () => {
  const { sim, clients: [client], proxy, set } = limited([{ maxTcpConnections: 3 }]);
  const open = () => new EchoClient(client!.connectTcp(TARGET, ECHO), 1e5, 1, { pauseAt: 10 });
  const streams = [0, 1, 2, 3].map(() => {
    const stream = open();
    sim.runFor(100);
    return stream;
  });
  assert.deepEqual(streams.map(({ error }) => error), [undefined, undefined, undefined, "refused"]);
  assert.equal(proxy.tcp.counters.overQuota, 1);
  streams[0]!.resume();
  sim.runFor(1_000);
  assert.ok(streams[0]!.isRight, "what is within the limit goes on");
  streams[0] = open();
  sim.runFor(100);
  set(0, { maxTcpConnections: 2 });
  sim.runFor(100);
  assert.deepEqual(streams.slice(0, 3).map(({ error }) => error), [undefined, "reset", undefined]);
  set(0, {});
  proxy.admission.setRules(rule({ maxConnections: 1 }));
  proxy.review();
  sim.runFor(100);
  assert.deepEqual(streams.slice(0, 3).map(({ error }) => error), [undefined, "reset", "reset"]);
  const refused = open();
  sim.runFor(100);
  assert.deepEqual([refused.error, proxy.tcp.counters.overQuota], ["refused", 2]);
});

Deno.test("a UDP session beyond a peer's limit is prohibited, unless one that was idle for long makes room", () => {
  const { sim, clients: [client], proxy } = limited([{ maxUdpSessions: 1 }]);
  const pingers = [0, 1].map(() => new Pinger(client!.engine, TARGET, 5000));
  const ask = (who: number) => {
    pingers[who]!.ask(64);
    sim.runFor(100);
    return pingers[who]!.answered;
  };
  assert.equal(ask(0), 1);
  assert.equal(ask(1), 0);
  assert.equal(proxy.udp.counters.overQuota, 1);
  sim.runFor(11_000);
  assert.equal(ask(1), 1);
  assert.deepEqual([proxy.udp.size, proxy.udp.counters.evicted], [1, 1]);
  for (const pinger of pingers) pinger.close();
});

Deno.test("packets from peer to peer are dropped down to the rates of both, and counted", () => {
  const { sim, clients, gateway, set } = limited([{ up: rate(4e6) }, {}], { forwarding: true });
  const [sender, receiver] = clients;
  for (const { engine } of clients) {
    const [hub] = engine.device.peers();
    hub!.addAllowedIp({ address: ip("10.9.0.0").bytes, length: 24 });
  }
  sender!.route("10.9.0.3/32", sender!.engine.nic1);
  new EchoClient(receiver!.connectTcp(TARGET, ECHO), 10, 1); // so that the gateway knows where it is
  sim.runFor(1_000);
  let received = 0;
  const socket = receiver!.engine.stack.bindUdp({ port: 9 });
  socket.handler = {
    datagram: (_socket, _source, _port, _buffer, _offset, length) => {
      received += length + 28;
    },
  };
  const flood = new Pinger(sender!.engine, ip("10.9.0.3"), 9);
  const measure = () => {
    for (let at = 0; at < 4_000; at++) sim.after(at, () => flood.ask(1_000)); // 8 Mbit/s
    const before = received;
    sim.runFor(4_000);
    return (received - before) * 2;
  };
  const { ip: counters } = gateway.engine.stack.counters;
  assertNear(measure(), 4e6, 0.06, "by the sender's");
  assert.ok(counters.overRate > 1_900);
  set(1, { down: rate(2e6) });
  measure();
  assertNear(measure(), 2e6, 0.05, "by the receiver's");
  set(0, {});
  set(1, {});
  sim.runFor(1);
  const { overRate } = counters;
  assertNear(measure(), 8_224_000, 0.02, "without");
  assert.equal(counters.overRate, overRate);
  flood.close();
  socket.close();
});

/** @returns what a stream gets alone, and beside a peer that opens connections as fast as it can. */
function besideFlood(limits: OwnerLimits): [alone: number, beside: number] {
  // 50,000 datagrams a second, and a dial that takes as long as ten of them.
  const { sim, clients, gateway, targets } = limited([limits, {}], {
    impairments: { rate: 200e6 },
    datagramMs: 0.02,
  });
  targets.onDial = () => gateway.cpu.spend(0.2);
  const [client, flooder] = clients;
  const stream = bulk(client!, 1);
  const measure = (ms: number) => {
    const before = stream.received;
    sim.runFor(ms);
    return bitrate(stream.received - before, ms);
  };
  measure(2_000);
  const alone = measure(1_000);
  let opened = 0;
  const flood = () => {
    for (let i = 0; i < 5; i++) new EchoClient(flooder!.connectTcp(TARGET, ECHO), 10, opened++);
    if (opened < 5_000) sim.after(1, flood); // 5,000 a second, more than there is time for
  };
  flood();
  const beside = measure(1_000);
  assert.ok(targets.dials > 200, `${targets.dials} connections were made meanwhile`);
  return [alone, beside];
}

Deno.test("beside a peer that opens connections as fast as it can, a paced stream keeps its rate", () => {
  const [, beside] = besideFlood({ down: rate(50e6) });
  assertNear(beside, 50e6, 0.05, "paced");
});

Deno.test("and one that takes all keeps four fifths", () => {
  const [alone, beside] = besideFlood({});
  assert.ok(beside > 0.8 * alone, `${beside / 1e6} of ${alone / 1e6} Mbit/s`);
});

/**
 * A stream at 20 Mbit/s beside a peer that asks for `perSecond` connections, each of which takes the
 * processor `dialMs` and some datagrams.
 *
 * @returns the stream's rate in the last two seconds of four, and the connections made meanwhile.
 */
function besidePaced(perSecond: number, dialMs: number): [stream: number, connections: number] {
  const { sim, clients, gateway, targets } = limited([{ down: rate(20e6) }, {}], {
    impairments: { rate: 200e6 },
    datagramMs: 0.02,
  });
  targets.onDial = () => gateway.cpu.spend(dialMs);
  const [client, asker] = clients;
  const stream = bulk(client!, 1);
  sim.runFor(1_000);
  let opened = 0;
  const ask = () => {
    for (let i = 0; i < perSecond / 100; i++) {
      new EchoClient(asker!.connectTcp(TARGET, ECHO), 10, opened++);
    }
    if (opened < 4 * perSecond) sim.after(10, ask);
  };
  ask();
  sim.runFor(2_000);
  const [received, dials] = [stream.received, targets.dials];
  sim.runFor(2_000);
  return [bitrate(stream.received - received, 2_000), (targets.dials - dials) / 2];
}

Deno.test("a gateway with time to spare holds no connection back beside a stream", () => {
  const [stream, connections] = besidePaced(1_000, 0.1);
  assertNear(stream, 20e6, 0.05, "the stream");
  assert.ok(connections > 980, `${connections} a second of 1,000`);
});

Deno.test("and one that has not enough uses what it has, and the stream loses nothing", () => {
  const [stream, connections] = besidePaced(4_000, 0.3);
  assertNear(stream, 20e6, 0.05, "the stream");
  assert.ok(connections > 700 && connections < 2_000, `${connections} a second of 4,000`);
});

Deno.test("with a thousand rules a connection, a session, a ping and what goes from peer to peer are decided once each, whatever they move", () => {
  const { sim, clients: [client, other], proxy } = limited([{}, {}], { forwarding: true });
  const { rules: [everything] } = rule({});
  const others = Array.from({ length: 1_000 }, (_, i) => ({
    ...everything!,
    to: [new Prefix(ip(`10.71.${i >> 8}.${i & 255}`), 32)],
  }));
  proxy.setSettings({
    ...proxy.settings,
    rules: [...others, everything!],
    defaultAction: "reject",
  });
  const { admission } = proxy;
  const decide = admission.decide.bind(admission);
  let verdicts = 0;
  admission.decide = (...request) => {
    verdicts++;
    return decide(...request);
  };
  const stream = bulk(client!, 1, 5e6);
  assert.ok(sim.runUntil(() => stream.hasEnded, 20_000));
  assert.deepEqual([stream.isRight, verdicts], [true, 1]);
  const pings = new Pinger(client!.engine, TARGET, 5000);
  for (let i = 0; i < 200; i++) pings.ask(64);
  sim.runFor(1_000);
  assert.deepEqual([pings.answered, verdicts], [200, 2]);
  pings.close();

  for (let n = 0; n < 200; n++) {
    const request = icmp("10.9.0.2", "10.70.0.1", 8, 0, Uint8Array.of(0, 7, 0, n, 1, 2, 3, 4));
    client!.engine.link.forward(request, 0, request.length, sim.now);
    client!.engine.wake();
    sim.runFor(5);
  }
  sim.runFor(1_000);
  assert.deepEqual([proxy.icmp.counters.replies, verdicts], [200, 3]);

  for (const { engine } of [client!, other!]) {
    const [hub] = engine.device.peers();
    hub!.addAllowedIp({ address: ip("10.9.0.0").bytes, length: 24 });
  }
  client!.route("10.9.0.3/32", client!.engine.nic1);
  new EchoClient(other!.connectTcp(TARGET, ECHO), 10, 1); // so that the gateway knows where it is
  sim.runFor(1_000);
  assert.equal(verdicts, 4);
  let received = 0;
  const socket = other!.engine.stack.bindUdp({ port: 9 });
  socket.handler = { datagram: () => void received++ };
  const across = new Pinger(client!.engine, ip("10.9.0.3"), 9);
  for (let n = 0; n < 200; n++) {
    across.ask(64);
    sim.runFor(5);
  }
  sim.runFor(1_000);
  assert.deepEqual([received, verdicts], [200, 5]);
  across.close();
  socket.close();
});
