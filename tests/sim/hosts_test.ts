import assert from "node:assert/strict";
import { type IpAddress, type Nic, Stack, type UdpEndpoint } from "../../netstack/mod.ts";
import { addNic, icmp, ip, parse, type Parsed } from "../netstack/packets.ts";
import type { Impairments } from "./link.ts";
import { Random, Sim, type SimLink } from "./network.ts";
import { forSeeds } from "./seeds.ts";

interface Pair {
  sim: Sim;
  link: SimLink;
  a: Stack;
  b: Stack;
  nicA: Nic;
  nicB: Nic;
}

function pair(seed: number, mtu: number, impairments: Impairments): Pair {
  const sim = new Sim(seed);
  const link = sim.link({ mtu, impairments });
  const make = () => new Stack({ random: (out) => sim.random.fill(out) });
  const a = make();
  const b = make();
  const nicA = addNic(a, link.a, { name: "a" }, ["10.0.0.1/24", "fd00::1/64"]);
  const nicB = addNic(b, link.b, { name: "b" }, ["10.0.0.2/24", "fd00::2/64"]);
  sim.addHost(a);
  sim.addHost(b);
  return { sim, link, a, b, nicA, nicB };
}

/** Collects what arrives at an endpoint. */
function collect(endpoint: UdpEndpoint): { from: IpAddress; port: number; data: Uint8Array }[] {
  const received: { from: IpAddress; port: number; data: Uint8Array }[] = [];
  endpoint.handler = {
    datagram: (_endpoint, from, port, buffer, offset, length) => {
      received.push({ from, port, data: buffer.slice(offset, offset + length) });
    },
  };
  return received;
}

function differingBits(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Infinity;
  let bits = 0;
  for (let i = 0; i < a.length; i++) {
    for (let rest = a[i]! ^ b[i]!; rest !== 0; rest &= rest - 1) bits++;
  }
  return bits;
}

function echo(endpoint: UdpEndpoint): void {
  endpoint.handler = {
    datagram: (_endpoint, from, port, buffer, offset, length, now) => {
      endpoint.send(from, port, buffer, offset, length, now);
    },
  };
}

for (const to of ["10.0.0.2", "fd00::2"]) {
  Deno.test(`two stacks exchange datagrams of every kind of size, to ${to}`, () => {
    const { sim, a, b } = pair(1, 1420, { delay: 10 });
    echo(b.bindUdp({ port: 7 }));
    const client = a.bindUdp({});
    const received = collect(client);
    const most = to.includes(":") ? 65_527 : 65_507;
    for (const size of [0, 1, 2, 1000, 1371, 1372, 1373, 1391, 1392, 1393, 8000, 65_507, most]) {
      const data = sim.random.bytes(size);
      assert.equal(client.send(ip(to), 7, data, 0, size, sim.now), true);
      assert.ok(sim.runUntil(() => received.length === 1, 1000), `no answer to ${size} bytes`);
      const { from, port, data: answer } = received.pop()!;
      assert.equal(String(from), to);
      assert.equal(port, 7);
      assert.ok(answer.length === size && answer.every((byte, i) => byte === data[i]));
    }
    assert.throws(() => client.send(ip(to), 7, new Uint8Array(most + 1), 0, most + 1, sim.now), {
      name: "RangeError",
      message: `a UDP datagram has 0 to ${most} bytes of data, got ${most + 1}`,
    });
    client.close();
    assert.equal(a.resources().reassemblies + b.resources().reassemblies, 0);
  });

  Deno.test(`fragments of large datagrams may be reordered and duplicated, to ${to}`, () => {
    forSeeds(10, (seed) => {
      const impairments = { delay: 10, jitter: 5, reorder: 0.2, reorderBy: 9, duplicate: 0.2 };
      const { sim, a, b } = pair(seed, 1420, impairments);
      echo(b.bindUdp({ port: 7 }));
      const client = a.bindUdp({});
      const received = collect(client);
      for (let i = 0; i < 5; i++) {
        const data = sim.random.bytes(sim.random.between(60_000, 65_507));
        client.send(ip(to), 7, data, 0, data.length, sim.now);
        sim.runUntil(() => received.length > 0, 1000);
        assert.deepEqual(received[0]?.data, data);
        sim.runFor(1000);
        received.length = 0;
      }
    });
  });

  Deno.test(`lost and damaged fragments never make a wrong datagram, to ${to}`, () => {
    let arrived = 0;
    forSeeds(10, (seed) => {
      const impairments = { delay: 10, jitter: 5, loss: 0.03, corrupt: 0.03, duplicate: 0.1 };
      const { sim, a, b } = pair(seed, 1420, impairments);
      const received = collect(b.bindUdp({ port: 7 }));
      const client = a.bindUdp({});
      const sent: Uint8Array[] = [];
      for (let i = 0; i < 30; i++) {
        const data = sim.random.bytes(sim.random.between(2000, 20_000));
        sent.push(data);
        client.send(ip(to), 7, data, 0, data.length, sim.now);
        sim.runFor(20);
      }
      sim.runFor(61_000);
      for (const { data } of received) {
        const closest = Math.min(...sent.map((each) => differingBits(each, data)));
        // Two flips that cancel out are all that a sum of 16-bit words can miss here.
        assert.ok(closest === 0 || closest === 2, `${closest} bits are wrong`);
      }
      arrived += received.length;
      assert.equal(a.resources().reassemblies + b.resources().reassemblies, 0);
      assert.equal(a.resources().timers + b.resources().timers, 0);
    });
    assert.ok(arrived > 30, `only ${arrived} arrived at all`);
  });

  Deno.test(`a stack answers pings of every size, to ${to}`, () => {
    const { sim, link } = pair(1, 1420, { delay: 5 });
    const from = to.includes(":") ? "fd00::1" : "10.0.0.1";
    const answers: Parsed[] = [];
    link.a.receive = (buffer, offset, length) => {
      answers.push(parse(buffer.slice(offset, offset + length)));
    };
    for (const size of [0, 1, 56, 1300]) {
      const rest = sim.random.bytes(4 + size);
      const request = icmp(from, to, to.includes(":") ? 128 : 8, 0, rest);
      link.a.forward(request, 0, request.length, sim.now);
      assert.ok(sim.runUntil(() => answers.length === 1, 11));
      const answer = answers.pop()!;
      assert.equal(answer.source, to);
      assert.equal(answer.payload[0], to.includes(":") ? 129 : 0);
      assert.deepEqual(answer.payload.slice(4), rest);
    }
  });
}

Deno.test("the same seed gives the same packets on the wire", () => {
  const trace = (seed: number) => {
    const { sim, link, a, b } = pair(seed, 1280, {
      delay: 10,
      jitter: 10,
      loss: 0.05,
      corrupt: 0.02,
      duplicate: 0.05,
      reorder: 0.1,
      reorderBy: 5,
    });
    const lines: string[] = [];
    link.tap = (now, from, buffer, offset, length) => {
      lines.push(`${now} ${from === link.a} ${buffer.subarray(offset, offset + length)}`);
    };
    echo(b.bindUdp({ port: 7 }));
    const client = a.bindUdp({});
    for (let i = 0; i < 20; i++) {
      const data = sim.random.bytes(sim.random.between(1, 5000));
      client.send(ip(i % 2 === 0 ? "10.0.0.2" : "fd00::2"), 7, data, 0, data.length, sim.now);
      sim.runFor(5);
    }
    sim.runFor(100_000);
    return lines.join("\n");
  };
  assert.equal(trace(5), trace(5));
  assert.notEqual(trace(5), trace(6));
});

Deno.test("a link without free slots delays large datagrams, but loses none", () => {
  const sim = new Sim(3);
  const link = sim.link({ mtu: 1280, slots: 4 });
  const make = () => new Stack({ random: (out) => sim.random.fill(out) });
  const [a, b] = [make(), make()];
  addNic(a, link.a, { name: "a" }, ["10.0.0.1/24"]);
  addNic(b, link.b, { name: "b" }, ["10.0.0.2/24"]);
  sim.addHost(a);
  sim.addHost(b);
  const received = collect(b.bindUdp({ port: 7 }));
  const client = a.bindUdp({});
  const data = new Random(1).bytes(30_000);
  for (let i = 0; i < 3; i++) assert.ok(client.send(ip("10.0.0.2"), 7, data, 0, 30_000, sim.now));
  assert.ok(sim.runUntil(() => received.length === 3, 1000));
  for (const each of received) assert.deepEqual(each.data, data);
  assert.equal(link.a.slotsOut, 0);
});

Deno.test("a stack that the application woke was woken once, until it is flushed", () => {
  let woken = 0;
  const sim = new Sim(1);
  const stack = new Stack({
    random: (out) => sim.random.fill(out),
    wake: () => woken++,
  });
  addNic(stack, sim.link().a, {}, ["10.0.0.1/24"]);
  const endpoint = stack.bindUdp({});
  const send = () => endpoint.send(ip("10.0.0.2"), 7, new Uint8Array(1), 0, 1, sim.now);
  send();
  send();
  assert.equal(woken, 1);
  stack.flush(sim.now);
  send();
  assert.equal(woken, 2);
});
