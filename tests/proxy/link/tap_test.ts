import assert from "node:assert/strict";
import type { Link } from "../../../netstack/mod.ts";
import { type Direction, Tap } from "../../../proxy/link/tap.ts";
import { ip } from "../../netstack/packets.ts";
import { echo, EchoClient } from "../../sim/applications.ts";
import { EngineWorld } from "../../sim/engine.ts";

function pair() {
  const world = new EngineWorld(1);
  const make = (n: number) =>
    world.engine({
      address: `192.0.2.${n}`,
      tunnel: [`10.9.0.${n}/24`],
      impairments: { delay: 5, loss: 0.02 },
    });
  const [client, gateway] = [make(2), make(1)];
  world.connect(client, gateway);
  gateway.engine.stack.tcp.listen({ port: 80 }, { accepted: echo });
  const transfer = (bytes: number) => {
    const started = new EchoClient(client.connectTcp(ip("10.9.0.1"), 80), bytes, 1);
    assert.ok(world.sim.runUntil(() => started.hasEnded, 60_000));
    assert.equal(started.error, undefined);
    world.sim.runFor(10_000); // nothing is under way
  };
  return { world, engine: gateway.engine, transfer };
}

Deno.test("a tap shows every packet of the tunnel, both ways, whole; while nobody looks it is not there", () => {
  const { world, engine, transfer } = pair();
  const total = () => {
    const { ip } = engine.stack.counters;
    return [ip.received, ip.sent];
  };
  transfer(50_000);
  assert.equal(engine.tap.counters.packetsIn + engine.tap.counters.packetsOut, 0);
  assert.equal(engine.nic1.link, engine.link);

  const before = total();
  const seen = { in: 0, out: 0 };
  const ends: Record<Direction, [number, number]> = { in: [2, 1], out: [1, 2] };
  const stop = engine.observe((direction, buffer, offset, length, now) => {
    seen[direction]++;
    assert.equal(now, world.sim.now);
    assert.equal(buffer[offset], 0x45);
    assert.equal(buffer[offset + 2]! << 8 | buffer[offset + 3]!, length, "the packet's own length");
    assert.deepEqual([buffer[offset + 15], buffer[offset + 19]], ends[direction]);
  });
  let seenByAnother = 0;
  const stopAnother = engine.observe(() => void seenByAnother++);
  transfer(50_000);
  stopAnother();
  const [packetsIn, packetsOut] = total().map((count, i) => count - before[i]!);
  assert.deepEqual([seen.in, seen.out], [packetsIn, packetsOut]);
  assert.equal(seenByAnother, packetsIn! + packetsOut!);
  const { counters } = engine.tap;
  assert.deepEqual([counters.packetsIn, counters.packetsOut], [packetsIn, packetsOut]);
  assert.ok(counters.bytesIn > 50_000 && counters.bytesOut > 50_000);

  stop();
  assert.equal(engine.nic1.link, engine.link);
  transfer(50_000);
  assert.equal(engine.tap.counters.packetsIn, packetsIn);
});

Deno.test("an observer that throws is taken away and counted, and takes no packet with it", () => {
  const { world, engine, transfer } = pair();
  let [calls, seen] = [0, 0];
  engine.observe(() => {
    calls++;
    throw new Error("its own affair");
  });
  engine.observe(() => void seen++);
  transfer(50_000);
  assert.equal(calls, 1);
  assert.equal(engine.tap.counters.faults, 1);
  assert.equal(seen, engine.tap.counters.packetsIn + engine.tap.counters.packetsOut);
  assert.equal(engine.counters.faults, 0);
  world.sim.runFor(200_000);
  world.assertClean({ tcpListeners: true });
});

Deno.test("a tap passes calls on to the link, and returns what that returns", () => {
  const calls: unknown[][] = [];
  const note = (name: string, result: unknown) => (...args: unknown[]) => {
    calls.push([name, ...args]);
    return result;
  };
  const buffer = new Uint8Array(8);
  const link = {
    buffer,
    allocate: note("allocate", 5),
    release: note("release", undefined),
    transmit: note("transmit", undefined),
    forward: note("forward", false),
  } as unknown as Link;
  const tap = new Tap(link);
  const hop = { to: undefined, generation: 1 };
  assert.equal(tap.buffer, buffer);
  assert.equal(tap.allocate(), 5);
  tap.release(5);
  tap.transmit(buffer, 1, 2, 3, hop);
  assert.equal(tap.forward(buffer, 1, 2, 3), false);
  assert.deepEqual(calls, [
    ["allocate"],
    ["release", 5],
    ["transmit", buffer, 1, 2, 3, hop],
    ["forward", buffer, 1, 2, 3],
  ]);
});
