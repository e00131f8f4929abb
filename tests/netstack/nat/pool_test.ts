/** The table when it is full, and the structures it is made of. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { PortPool } from "../../../netstack/nat/ports.ts";
import { ShareLinks, ShareQueue } from "../../../netstack/nat/shares.ts";
import { Random } from "../../sim/random.ts";
import { concat, icmp, parse, tcpSegment, tcpSyn, udp, uint32 } from "../packets.ts";
import { A, B, EXTERNAL, NatLab, portsOf, X } from "./lab.ts";

const PORTS = { first: 20_000, last: 24_999 };
const FLOWS = 10_000;

/** Where flow `i` goes: 10,000 of one host's ports, to as many remote ones. */
function flow(i: number): { port: number; remote: string; remotePort: number } {
  const remote = `198.51.${100 + (i >> 8 & 63)}.${i & 0xff}`;
  return { port: 30_000 + i, remote, remotePort: 40_000 + i };
}

Deno.test("10,000 flows through 5,000 ports: the idlest go, the others are reached, and nothing crosses", () => {
  const lab = new NatLab({ ports: PORTS });
  const external: number[] = [];
  for (let i = 0; i < FLOWS; i++) {
    const { port, remote, remotePort } = flow(i);
    const [sent] = lab.out(udp(A, port, remote, remotePort, uint32(i)));
    external.push(portsOf(sent!)[0]);
    lab.sim.now += 0.01;
    if (i % 10 === 9) {
      // The first hundred are in use all the while.
      const kept = flow(Math.floor(i / 10) % 100);
      lab.out(udp(A, kept.port, kept.remote, kept.remotePort, uint32(0)));
    }
  }
  assert.equal(lab.nat.mappings, 5_000);
  assert.equal(lab.nat.counters.evicted, 5_000);
  const reached: number[] = [];
  for (let i = 0; i < FLOWS; i++) {
    const { port, remote, remotePort } = flow(i);
    const came = lab.in(udp(remote, remotePort, EXTERNAL, external[i]!, uint32(i)));
    if (came.length === 0) continue;
    reached.push(i);
    assert.equal(came[0]!.destination, A);
    assert.equal(portsOf(came[0]!)[1], port, `what is for flow ${i} went to another one`);
  }
  const expected = Array.from({ length: FLOWS }, (_, i) => i)
    .filter((i) => i < 100 || i >= FLOWS - 4_900);
  assert.deepEqual(reached, expected);
  assert.equal(lab.nat.counters.filtered, FLOWS - 5_000);
});

Deno.test("of 10,000 flows through 5,000 ports, each ICMP error finds the one it is about, or none", () => {
  const lab = new NatLab({ ports: PORTS });
  const sent = Array.from({ length: FLOWS }, (_, i) => {
    const { port, remote, remotePort } = flow(i);
    return lab.out(tcpSyn(A, port, remote, remotePort))[0]!;
  });
  let found = 0;
  for (let i = 0; i < FLOWS; i++) {
    const { port, remote, remotePort } = flow(i);
    const rest = concat(uint32(0), sent[i]!.bytes);
    const [error] = lab.in(icmp("192.0.2.1", EXTERNAL, 11, 0, rest));
    if (error === undefined) continue;
    found++;
    const quoted = parse(error.payload.slice(8));
    assert.equal(error.destination, A);
    assert.equal(quoted.destination, remote);
    assert.deepEqual(portsOf(quoted), [port, remotePort]);
  }
  assert.equal(found, 5_000);
  assert.equal(lab.nat.counters.unknownError, 5_000);
});

Deno.test("a host that fills the table gives way to one that has less than its share, and to itself", () => {
  const lab = new NatLab({ ports: { first: 20_000, last: 20_099 } });
  for (let i = 0; i < 100; i++) lab.out(udp(A, 30_000 + i, X, 53, uint32(i)));
  const [other] = lab.out(udp(B, 20_005, X, 53, uint32(0)));
  const [port] = portsOf(other!);
  for (let i = 0; i < 300; i++) lab.out(udp(A, 40_000 + i, X, 53, uint32(i)));
  const [reply] = lab.in(udp(X, 53, EXTERNAL, port, uint32(0)));
  assert.equal(reply!.destination, B);
  assert.equal(lab.nat.mappings, 100);
});

Deno.test("a host that talks to everybody loses its own sessions, and keeps the mapping it talks by", () => {
  const lab = new NatLab({ maxSessions: 100 });
  lab.out(udp(B, 6000, X, 53, uint32(0)));
  for (let i = 0; i < 1_000; i++) lab.out(udp(A, 5000, `198.51.100.${i & 0xff}`, 53, uint32(i)));
  assert.equal(lab.nat.sessions, 100);
  assert.equal(lab.nat.mappings, 2);
  assert.equal(lab.in(udp(X, 53, EXTERNAL, 6000, uint32(0))).length, 1);
  assert.equal(lab.in(udp(`198.51.100.${999 & 0xff}`, 53, EXTERNAL, 5000, uint32(0))).length, 1);
});

Deno.test("connections from beyond take no place from others", () => {
  const lab = new NatLab({ filtering: "endpoint", maxSessions: 10 });
  for (let i = 0; i < 10; i++) lab.out(tcpSyn(A, 5000 + i, X, 80));
  assert.deepEqual(lab.in(tcpSyn("192.0.2.9", 1, EXTERNAL, 5000)), []);
  assert.equal(lab.in(tcpSegment(X, 80, EXTERNAL, 5000, 1, 1001, 0x12)).length, 1);
});

Deno.test("the table is shared by whoever sends, where that is asked for", () => {
  const lab = new NatLab({ ports: { first: 20_000, last: 20_009 }, shareBy: "sender" });
  const send = (from: string, host: string, port: number) => {
    const bytes = udp(host, port, X, 53, uint32(0));
    lab.stack.handlePacket(lab.inside, bytes, 0, bytes.length, lab.sim.now, from);
  };
  // One peer with a hundred addresses, and another with one.
  for (let i = 0; i < 100; i++) send("many", `192.168.0.${i + 2}`, 5000);
  send("one", "192.168.0.200", 20_003);
  for (let i = 0; i < 100; i++) send("many", `192.168.0.${i + 2}`, 5001);
  lab.sim.runFor(0);
  const { outside } = lab.take();
  const [port] = portsOf(outside[100]!);
  assert.equal(lab.in(udp(X, 53, EXTERNAL, port, uint32(0)))[0]!.destination, "192.168.0.200");
});

Deno.test("ports cannot be guessed: what is chosen instead of the one wanted follows no order", () => {
  const ports: number[] = [];
  for (let seed = 1; seed <= 200; seed++) {
    const random = new Random(seed);
    const pool = new PortPool(1, 65_535, (out) => random.fill(out));
    pool.take(5000, true, 1, 0);
    ports.push(pool.take(5000, true, 2, 0));
  }
  assert.ok(new Set(ports).size > 190);
  const mean = ports.reduce((sum, port) => sum + port, 0) / ports.length;
  assert.ok(mean > 28_000 && mean < 38_000, `${mean}`);
});

Deno.test("a pool gives every port once, and one given back rests two minutes while others are free", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 60 }),
    fc.array(
      fc.tuple(fc.integer({ min: 0, max: 99 }), fc.boolean(), fc.integer({ min: 1, max: 60_000 })),
    ),
    fc.integer(),
    (size, steps, seed) => {
      const random = new Random(seed);
      const first = 1_000;
      const pool = new PortPool(first, first + size - 1, (out) => random.fill(out));
      const taken = new Set<number>();
      const givenAt = new Map<number, number>();
      let now = 0;
      let holder = 0;
      for (const [offset, isTake, wait] of steps) {
        now += wait;
        if (isTake) {
          const wanted = first + offset;
          const port = pool.take(wanted, true, ++holder, now);
          assert.equal(port < 0, taken.size === size);
          if (port < 0) continue;
          assert.ok(port >= first && port < first + size && !taken.has(port));
          const isRested = (each: number) => now - (givenAt.get(each) ?? -Infinity) >= 240_000;
          const rested = Array.from({ length: size }, (_, i) => first + i)
            .filter((each) => !taken.has(each) && isRested(each));
          if (rested.length > 0) {
            assert.ok(now - (givenAt.get(port) ?? -Infinity) >= 120_000, "it has not rested");
          }
          taken.add(port);
        } else {
          const [port] = taken;
          if (port === undefined) continue;
          pool.give(port, now);
          taken.delete(port);
          givenAt.set(port, now);
        }
        assert.equal(pool.free, size - taken.size);
      }
    },
  ));
});

Deno.test("a port that is given back long after the last one was taken rests as long as any", () => {
  const pool = new PortPool(1_000, 1_059, (out) => out.fill(7));
  const port = pool.take(1_010, true, 1, 0);
  pool.give(port, 239_000);
  // Nobody has taken one for four minutes, and yet this one is given back a second ago.
  assert.notEqual(pool.take(port, true, 2, 240_001), port);
  assert.notEqual(pool.take(port, true, 3, 358_999), port);
});

Deno.test("a port has rested after four minutes, however late the next one is taken", () => {
  const pool = new PortPool(1_000, 1_001, (out) => out.fill(0));
  pool.give(pool.take(1_000, true, 1, 1), 2);
  pool.give(pool.take(1_001, true, 2, 121_181), 179_714);
  assert.equal(pool.take(1_001, true, 3, 240_002), 1_000);
});

Deno.test("who had a port may have it again at once", () => {
  const pool = new PortPool(5_000, 5_999, (out) => out.fill(7));
  assert.equal(pool.take(5_500, true, 1, 0), 5_500);
  pool.give(5_500, 0);
  assert.notEqual(pool.take(5_500, true, 2, 1), 5_500);
  assert.equal(pool.take(5_500, true, 1, 2), 5_500);
});

Deno.test("the one who makes room is found as by counting", () => {
  fc.assert(fc.property(
    fc.array(
      fc.tuple(fc.integer({ min: 0, max: 3 }), fc.constantFrom("add", "touch", "remove"), fc.nat()),
    ),
    fc.integer({ min: 1, max: 12 }),
    (steps, limit) => {
      const links = new ShareLinks();
      links.grow(64);
      const queue = new ShareQueue(links);
      const free = Array.from({ length: 64 }, (_, i) => i);
      let plain: { entry: number; key: number }[] = [];
      const changed = [0, 0, 0, 0];
      let turn = 0;
      for (const [key, what, at] of steps) {
        const some = plain[at % plain.length];
        if (what === "add" && free.length > 0) {
          const entry = free.pop()!;
          queue.add(entry, key);
          plain.push({ entry, key });
          changed[key] = ++turn;
        } else if (some !== undefined && what !== "add") {
          plain = plain.filter((each) => each !== some);
          if (what === "touch") {
            queue.touch(some.entry);
            plain.push(some);
          } else {
            queue.remove(some.entry);
            free.push(some.entry);
            changed[some.key] = ++turn;
          }
        }
        assert.equal(queue.size, plain.length);
        if (plain.length === 0) continue;
        const countOf = (of: number) => plain.filter((each) => each.key === of).length;
        const owners = [0, 1, 2, 3].filter((of) => countOf(of) > 0);
        const greediest = owners.sort((a, b) =>
          countOf(b) - countOf(a) || changed[b]! - changed[a]!
        )[0]!;
        for (let taker = 0; taker < 4; taker++) {
          const own = countOf(taker);
          const share = limit / owners.length;
          const gives = own === 0 ||
              own + 1 <= share && greediest !== taker && countOf(greediest) > share
            ? greediest
            : taker;
          const expected = plain.find((each) => each.key === gives)!.entry;
          assert.equal(queue.victim(taker, limit), expected);
        }
      }
    },
  ));
});
