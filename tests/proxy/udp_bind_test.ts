import assert from "node:assert/strict";
import { IpAddress } from "../../netstack/mod.ts";
import { EndpointCache, type UdpAddress } from "../../proxy/endpoint_cache.ts";
import { TransmitPool } from "../../proxy/transmit_pool.ts";
import type { UdpBind, UdpBindOptions } from "../../proxy/udp_bind.ts";
import { openUdpBind } from "../../proxy/udp_bind_open.ts";
import { pattern, until } from "./pair.ts";

interface Received {
  readonly bytes: Uint8Array;
  readonly from: UdpAddress;
}

type Use = (bind: UdpBind, received: Received[], pool: TransmitPool) => Promise<void>;

/** A test over each kind of socket, of a bind that drains and flushes itself as the engine does. */
function bindTest(name: string, options: Partial<UdpBindOptions>, use: Use): void {
  for (const [kind, ffi] of [["Deno's sockets", false], ["FFI", true]] as const) {
    if (ffi && Deno.build.os !== "linux") continue;
    Deno.test(`over ${kind}, ${name}`, () => withBind(ffi, options, use));
  }
}

async function withBind(ffi: boolean, options: Partial<UdpBindOptions>, use: Use): Promise<void> {
  const { pool = new TransmitPool(1420) } = options;
  const received: Received[] = [];
  const turn = () => {
    bind.drain((buffer, offset, length, from) =>
      received.push({ bytes: buffer.slice(offset, offset + length), from })
    );
    bind.flush();
    if (bind.hasReady) setImmediate(turn);
  };
  const bind = openUdpBind({
    pool,
    onReadable: () => void setImmediate(turn),
    onSent() {},
    onFailed: (error) => assert.fail(error),
    ...options,
  }, ffi);
  try {
    await use(bind, received, pool);
  } finally {
    await bind.close();
    assert.equal(pool.free, pool.slots, "every slot came back");
  }
}

function plain(hostname: string): Deno.DatagramConn & { port: number } {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  return Object.assign(socket, { port: (socket.addr as Deno.NetAddr).port });
}

bindTest("one socket hears IPv4 and IPv6, and gives IPv4 as IPv4", {}, async (bind, received) => {
  for (const hostname of ["127.0.0.1", "::1"]) {
    const socket = plain(hostname);
    await socket.send(pattern(100), { transport: "udp", hostname, port: bind.port });
    await until(() => received.length === 1, "it has arrived");
    const { from, bytes } = received.pop()!;
    assert.equal(`${new IpAddress(from.address)}`, hostname);
    assert.equal(from.port, socket.port);
    assert.deepEqual(bytes, pattern(100));
    assert.equal(bind.endpoint(new IpAddress(from.address), from.port), from, "interned");
    bind.send(from, pattern(40), 0, 40);
    bind.flush();
    const [answer, sender] = await socket.receive();
    assert.deepEqual(answer, pattern(40));
    assert.equal((sender as Deno.NetAddr).port, bind.port);
    socket.close();
  }
});

bindTest("datagrams of a burst arrive whole and in order, the largest included", {}, async (
  bind,
  received,
) => {
  const socket = plain("127.0.0.1");
  const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: bind.port };
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 20; i++) await socket.send(pattern(1452, 20 * round + i + 1), to);
    await until(() => received.length === 20 * (round + 1), "all have arrived");
  }
  received.forEach(({ bytes }, i) => assert.deepEqual(bytes, pattern(1452, i + 1)));
  await socket.send(pattern(65_507), to);
  await until(() => received.length === 401, "the largest has arrived");
  assert.deepEqual(received[400]!.bytes, pattern(65_507));
  socket.close();
});

bindTest("what the system refuses to send is counted, and the next is sent", {
  address: "127.0.0.1",
}, async (bind, _received, pool) => {
  const socket = plain("127.0.0.1");
  const to = bind.endpoint(IpAddress.v4(127, 0, 0, 1), socket.port);
  const unreachable = bind.endpoint(new IpAddress(new Uint8Array(16).fill(0xfd)), 1);
  bind.send(unreachable, pattern(10), 0, 10); // IPv6 from an IPv4 socket
  bind.send(to, pattern(2000), 0, 2000); // larger than a slot, and not in one
  bind.flush();
  await until(() => bind.counters.sendErrors === 1, "the error is counted");
  assert.equal(bind.counters.noSlot, 1);
  const slot = pool.take();
  pool.buffer.set(pattern(1000), slot);
  bind.send(to, pool.buffer, slot, 1000);
  assert.equal(pool.isInFlight(slot), true);
  bind.flush();
  assert.deepEqual((await socket.receive())[0], pattern(1000).subarray(0, 1000));
  await until(() => pool.free === pool.slots, "the slot is free again");
  socket.close();
});

bindTest("when every slot is in use a foreign datagram is dropped and counted", {}, async (
  bind,
  _received,
  pool,
) => {
  const taken: number[] = [];
  for (let slot; (slot = pool.take()) >= 0;) taken.push(slot);
  bind.send(bind.endpoint(IpAddress.v4(127, 0, 0, 1), 9), pattern(10), 0, 10);
  assert.equal(bind.counters.noSlot, 1);
  for (const slot of taken) pool.give(slot);
  await bind.sent(100);
});

Deno.test("slots do not overlap, and hold a packet with its room", () => {
  for (const mtu of [576, 1280, 1420, 9000, 65_535]) {
    const pool = new TransmitPool(mtu);
    const starts = new Set<number>();
    for (let slot; (slot = pool.take()) >= 0;) starts.add(slot);
    assert.equal(starts.size, pool.slots);
    assert.ok(pool.slotSize >= 16 + mtu + 32);
    assert.ok([...starts].every((start) => start % pool.slotSize === 0));
    assert.equal(pool.buffer.length, pool.slots * pool.slotSize);
  }
});

Deno.test("addresses in use stay the same object while a flood of others passes", () => {
  const cache = new EndpointCache(true);
  const sender = (i: number): Deno.NetAddr => ({
    transport: "udp",
    hostname: `::ffff:10.${i >> 16 & 255}.${i >> 8 & 255}.${i & 255}`,
    port: 51820,
  });
  const known = cache.from(sender(1));
  assert.equal(known.toString(), "10.0.0.1:51820");
  for (let i = 2; i < 50_000; i++) {
    cache.from(sender(i));
    if (i % 1000 === 0) assert.equal(cache.from(sender(1)), known);
  }
  assert.equal(cache.from(sender(1)), cache.of(IpAddress.v4(10, 0, 0, 1), 51820));
  assert.equal(cache.from({ ...sender(1), port: 1 }) === known, false);
  assert.equal(
    cache.from({ transport: "udp", hostname: "fe80::1%eth0", port: 7 }).toString(),
    "[fe80::1]:7",
  );
});
