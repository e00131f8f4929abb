import assert from "node:assert/strict";
import {
  MemoryBudget,
  type MemoryEpisode,
  Stack,
  type TcpEndpoint,
  type TcpError,
  type TcpSettings,
} from "../../netstack/mod.ts";
import { Sim, type SimLink } from "../sim/network.ts";
import { addNic, ip } from "./packets.ts";

const CHUNK = new Uint8Array(1 << 16);
const MIB = 1 << 20;
/** Two buffers of each connection are never refused their least. */
const LEAST = 2 * 2_048;

/** A server with a budget and a client with two addresses, whom the server takes for two owners. */
class Scene {
  readonly sim = new Sim(1);
  readonly link: SimLink;
  readonly server: Stack;
  readonly client: Stack;
  readonly episodes: MemoryEpisode[] = [];
  readonly accepted: TcpEndpoint[] = [];
  /** By the test. */
  charged = 0;
  /** What the server's memory came to at most. */
  most = 0;
  /** How ended what the client opened, by its local port. */
  readonly ended = new Map<number, TcpError | undefined>();

  constructor(
    total: number,
    serve: (endpoint: TcpEndpoint) => void,
    tcp: Partial<TcpSettings> = {},
  ) {
    const { sim } = this;
    this.link = sim.link({ mtu: 1420, slots: 2_048 });
    const delay = { delay: 10, rate: 1e9, queue: 10_000 };
    this.link.a.impairments = delay;
    this.link.b.impairments = delay;
    const random = (out: Uint8Array) => sim.random.fill(out);
    const memory = new MemoryBudget({ total, onEpisode: (episode) => this.episodes.push(episode) });
    this.server = new Stack({
      random,
      memory,
      tcp: { maxHalfOpenPerSource: 4_096, backlog: 4_096, ...tcp },
    });
    this.client = new Stack({ random });
    const nic = addNic(this.server, this.link.a, {}, ["10.0.0.1/24"]);
    addNic(this.client, this.link.b, {}, ["10.0.0.2/24", "10.0.0.3/24"]);
    this.link.a.receive = (buffer, offset, length, now) => {
      const owner = buffer[offset + 15] === 2 ? "alice" : "bob";
      this.server.handlePacket(nic, buffer, offset, length, now, owner);
      const { tcp } = this.server;
      this.most = Math.max(this.most, memory.used);
      const { used } = tcp.memory;
      assert.ok(used <= total + LEAST * tcp.connectionCount, `${used} bytes`);
      assert.equal(memory.used, used + this.charged);
    };
    for (const host of [this.server, this.client]) sim.addHost(host);
    this.server.tcp.listen({ port: 80 }, {
      accepted: (endpoint) => {
        this.accepted.push(endpoint);
        serve(endpoint);
      },
    });
  }

  /** A connection of the client; with `reads`, it takes all that comes. */
  connect(address: string, reads: boolean): { endpoint: TcpEndpoint; received: () => number } {
    const options = { remote: ip("10.0.0.1"), remotePort: 80, local: ip(address) };
    const endpoint = this.client.tcp.connect(options, this.sim.now);
    let received = 0;
    endpoint.handler = {
      readable: () => {
        if (!reads) return;
        for (let n = endpoint.read(CHUNK); n > 0; n = endpoint.read(CHUNK)) received += n;
      },
      closed: (error) => this.ended.set(endpoint.localPort, error),
    };
    return { endpoint, received: () => received };
  }

  /** How long it takes to receive `bytes` on a new connection, ms. */
  download(address: string, bytes: number, most: number): number {
    const begin = this.sim.now;
    const { endpoint, received } = this.connect(address, true);
    while (received() < bytes) {
      assert.ok(this.sim.now - begin < most, `${received()} bytes in ${most} ms`);
      this.sim.runFor(10);
    }
    endpoint.abort();
    return this.sim.now - begin;
  }
}

/** Writes for ever. */
function writeForever(endpoint: TcpEndpoint): void {
  const write = () => {
    while (endpoint.write(CHUNK) === CHUNK.length);
  };
  endpoint.handler = { connected: write, writable: write };
  write();
}

Deno.test("stalled connections take no more than the budget, and a new one is as fast as alone", () => {
  const alone = new Scene(Infinity, writeForever).download("10.0.0.2", 4 * MIB, 10_000);
  const scene = new Scene(8 * MIB, writeForever);
  const { server } = scene;
  const stalled = Array.from({ length: 400 }, () => scene.connect("10.0.0.2", false));
  scene.sim.runFor(12_000);
  assert.ok(server.memory.isPressed);
  assert.ok(scene.most > 6 * MIB && scene.most <= 8 * MIB + 400 * LEAST, `${scene.most} bytes`);
  assert.equal(server.counters.tcp.memoryResets, 0, "there was room for all, each with less");
  const time = scene.download("10.0.0.2", 4 * MIB, 10_000);
  assert.ok(time < 2 * alone + 500, `${time} ms, alone ${alone}`);
  scene.sim.runFor(100);
  const { memoryResets } = server.counters.tcp;
  assert.ok(memoryResets > 0 && memoryResets < 200, `${memoryResets} were reset`);
  // What had arrived before can still be read, so not all of them have been told that it is over.
  const errors = stalled.map(({ endpoint }) => endpoint.error).filter((error) => error);
  assert.equal(errors.length, memoryResets);
  assert.ok(errors.every((error) => error!.kind === "reset"));

  // When they end, so does the pressure, which was told of twice and no more.
  for (const { endpoint } of stalled) endpoint.abort();
  scene.sim.runFor(1_000);
  assert.equal(server.memory.used, 0);
  assert.equal(server.tcp.connectionCount, 0);
  assert.equal(server.memory.owners, 0);
  assert.deepEqual(scene.episodes.map(({ isOver }) => isOver).slice(-2), [false, true]);
  assert.equal(scene.episodes.length, 2 * server.memory.episodes);
  assert.equal(
    scene.episodes.reduce((sum, { isOver, resets }) => sum + (isOver ? resets : 0), 0),
    memoryResets,
  );
});

Deno.test("a new connection gets going beside stalled ones that are too young to give way", () => {
  const alone = new Scene(Infinity, writeForever).download("10.0.0.2", 4 * MIB, 10_000);
  const scene = new Scene(16 * MIB, writeForever);
  for (let i = 0; i < 400; i++) scene.connect("10.0.0.2", false);
  scene.sim.runFor(2_000);
  assert.ok(scene.server.memory.isPressed);
  const time = scene.download("10.0.0.2", 4 * MIB, 10_000);
  assert.equal(scene.server.counters.tcp.memoryResets, 0);
  assert.ok(time < 4 * alone, `${time} ms, alone ${alone}`);
});

Deno.test("alone an owner may have most of the budget, also for a single connection", () => {
  const scene = new Scene(2 * MIB, writeForever, { congestion: "none" });
  const { endpoint } = scene.connect("10.0.0.2", false);
  scene.sim.runFor(5_000);
  assert.ok(scene.most >= MIB, `${scene.most} bytes`);
  assert.equal(endpoint.state, "established");
});

Deno.test("who is below its share loses nothing to who is above it", () => {
  const scene = new Scene(8 * MIB, writeForever);
  for (let i = 0; i < 400; i++) scene.connect("10.0.0.2", false);
  scene.sim.runFor(12_000);
  const kept = Array.from({ length: 20 }, () => scene.connect("10.0.0.3", false));
  scene.sim.runFor(12_000);
  const time = scene.download("10.0.0.3", 4 * MIB, 10_000);
  assert.ok(time < 3_000, `${time} ms`);
  scene.download("10.0.0.2", 4 * MIB, 10_000); // above its share: others of its own give way
  assert.ok(scene.server.counters.tcp.memoryResets > 0);
  for (const { endpoint } of kept) assert.equal(endpoint.state, "established");
});

Deno.test("uploads nobody reads: windows close, none shrinks, no byte taken is lost", () => {
  const scene = new Scene(MIB, () => {});
  const edges = new Map<number, number>();
  const scale = 7;
  scene.link.tap = (_now, from, buffer, offset) => {
    if (from !== scene.link.a || buffer[offset + 9] !== 6) return;
    const view = new DataView(buffer.buffer, buffer.byteOffset + offset + 20);
    if ((view.getUint8(13) & 0x06) !== 0) return; // SYN: not scaled; RST: has no window
    const port = view.getUint16(2);
    const edge = (view.getUint32(8) + (view.getUint16(14) << scale)) | 0;
    const before = edges.get(port) ?? edge;
    const moved = (edge - before) | 0;
    // Rounded to units of the scale (RFC 7323 §2.4).
    assert.ok(moved > -(1 << scale), `the right edge moved left by ${-moved}`);
    if (moved > 0 || !edges.has(port)) edges.set(port, edge);
  };
  const senders = Array.from({ length: 100 }, () => scene.connect("10.0.0.2", false).endpoint);
  for (const endpoint of senders) writeForever(endpoint);
  scene.sim.runFor(3_000);
  assert.equal(edges.size, 100);
  assert.ok(scene.most > 0.7 * MIB, `${scene.most} bytes`);
  // Now everybody is read, to the end.
  let taken = 0;
  const read = (endpoint: TcpEndpoint) => {
    for (let n = endpoint.read(CHUNK); n > 0; n = endpoint.read(CHUNK)) taken += n;
  };
  for (const endpoint of scene.accepted) {
    endpoint.handler = { readable: () => read(endpoint) };
    read(endpoint);
  }
  // Whose data found no memory waits for the retransmission.
  scene.sim.runFor(4_000);
  assert.ok(taken > 4 * MIB, `${taken} bytes`);
  const sent = senders.reduce(
    (sum, endpoint) => sum + endpoint.info().bytesOut - endpoint.unacknowledged,
    0,
  );
  assert.ok(taken >= sent, "what was acknowledged was handed over");
  assert.ok(edges.size === 100 && senders.every(({ error }) => error === undefined));
});

Deno.test("what others hold counts too, and what ended with data unread gives way", () => {
  const scene = new Scene(4 * MIB, () => {});
  const { memory } = scene.server;
  for (let i = 0; i < 20; i++) {
    const { endpoint } = scene.connect("10.0.0.2", false);
    endpoint.handler = {
      connected: () => endpoint.write(CHUNK, 0, 50_000) && endpoint.shutdownWrite(),
    };
  }
  scene.sim.runFor(1_000);
  for (const endpoint of scene.accepted) endpoint.shutdownWrite();
  scene.sim.runFor(11_000);
  const ended: (TcpError | undefined)[] = [];
  for (const endpoint of scene.accepted) {
    endpoint.handler = { closed: (error) => ended.push(error) };
  }
  assert.deepEqual(scene.accepted.map(({ readable }) => readable), Array(20).fill(50_000));
  assert.equal(memory.isPressed, false);
  memory.charge("alice", scene.charged = 3 * MIB);
  assert.equal(memory.isPressed, true);
  // Somebody has to come by.
  scene.connect("10.0.0.3", true);
  scene.sim.runFor(1_000);
  assert.ok(ended.length > 0, "some gave way");
  assert.ok(ended.every((error) => error?.kind === "memory"));
  assert.ok(scene.accepted.every((endpoint) => !endpoint.endOfFile), "cut short is no end of file");
  memory.charge("alice", -scene.charged);
  assert.equal(memory.isPressed, false);
  assert.deepEqual(scene.episodes.map(({ isOver }) => isOver), [false, true]);
});

Deno.test("of an owner's connections those are reset that hold most and have not moved for longest", () => {
  const scene = new Scene(4 * MIB, () => {});
  const { memory } = scene.server;
  /** Sends so much that nobody reads, and leaves some time before the next does. */
  const send = (bytes: number) => {
    const { endpoint } = scene.connect("10.0.0.2", false);
    endpoint.handler = { connected: () => void endpoint.write(CHUNK, 0, bytes) };
    scene.sim.runFor(50);
    return endpoint;
  };
  const moving = send(50_000);
  for (let i = 0; i < 40; i++) {
    send(5_000);
    send(50_000);
  }
  const [movingHere, ...others] = scene.accepted;
  for (let i = 0; i < 12; i++) {
    movingHere!.read(CHUNK, 0, 5_000);
    moving.write(CHUNK, 0, 5_000);
    scene.sim.runFor(1_000);
  }
  const small = others.filter((_, i) => i % 2 === 0);
  const big = others.filter((_, i) => i % 2 === 1);
  assert.deepEqual(new Set(small.map(({ readable }) => readable)), new Set([5_000]));
  assert.deepEqual(new Set(big.map(({ readable }) => readable)), new Set([50_000]));
  assert.equal(memory.isPressed, false);
  memory.charge("alice", scene.charged = Math.ceil(memory.room - memory.used) + 1);
  scene.connect("10.0.0.3", true); // somebody has to come by
  scene.sim.runFor(1_000);
  const { memoryResets } = scene.server.counters.tcp;
  assert.ok(memoryResets > 5 && memoryResets < 40, `${memoryResets} were reset`);
  const wasReset = (endpoint: TcpEndpoint) => endpoint.error?.kind === "memory";
  assert.deepEqual(big.map(wasReset), big.map((_, i) => i < memoryResets), "the oldest first");
  assert.deepEqual(small.filter(wasReset), [], "they hold little");
  assert.equal(movingHere!.error, undefined, "it holds as much, and moves");
});

Deno.test("what an application holds for a connection counts until it is over", () => {
  const scene = new Scene(4 * MIB, () => {});
  const { memory } = scene.server;
  const { endpoint } = scene.connect("10.0.0.2", false);
  scene.sim.runFor(100);
  const [accepted] = scene.accepted;
  accepted!.hold(100_000);
  accepted!.hold(60_000);
  assert.equal(memory.used, 60_000);
  assert.equal(accepted!.info().bufferBytes, 60_000);
  scene.charged = 60_000;
  endpoint.abort();
  scene.sim.runFor(100);
  assert.equal(memory.used, 0);
  accepted!.hold(50_000);
  assert.equal(memory.used, 0, "nobody would give it back");
});

Deno.test("the total may change, and pressure with it", () => {
  const told: boolean[] = [];
  const memory = new MemoryBudget({
    total: MIB,
    onEpisode: ({ isOver }) => told.push(isOver),
  });
  memory.charge("alice", 0.5 * MIB);
  memory.resize(0.5 * MIB);
  assert.ok(memory.isPressed);
  memory.resize(2 * MIB);
  assert.ok(!memory.isPressed);
  assert.deepEqual(told, [false, true]);
  assert.throws(() => memory.resize(0), RangeError);
});

Deno.test("what connections cost beside their buffers is not for buffers, down to half of the total", () => {
  const budget = new MemoryBudget({ total: 8 * MIB, perConnection: MIB });
  const accounts = Array.from({ length: 3 }, () => budget.join("owner"));
  assert.equal(budget.room, 5 * MIB);
  assert.ok(!budget.isPressed);
  budget.charge("owner", 4 * MIB);
  assert.ok(budget.isPressed, "4 of 5");
  while (accounts.length < 100) accounts.push(budget.join("owner"));
  assert.equal(budget.room, 4 * MIB);
  for (const account of accounts) budget.leave(account);
  assert.equal(budget.room, 8 * MIB);
  assert.ok(!budget.isPressed, "4 of 8");
});

Deno.test("what the next connections cost is kept free before they are there, also when the total changes", () => {
  const budget = new MemoryBudget({ total: 8 * MIB, perConnection: MIB, spareConnections: 2 });
  assert.equal(budget.room, 6 * MIB);
  const account = budget.join("owner");
  assert.equal(budget.room, 5 * MIB);
  budget.resize(4 * MIB);
  assert.equal(budget.room, 2 * MIB, "half is room, whatever connections cost");
  budget.leave(account);
  assert.equal(budget.room, 2 * MIB);
  assert.equal(new MemoryBudget({ perConnection: MIB, spareConnections: 2 }).room, Infinity);
});

Deno.test("of the last eighth everybody gets in proportion to what it has moved", () => {
  const total = 64 * MIB;
  const budget = new MemoryBudget({ total });
  const [other, account] = [budget.join("other"), budget.join("owner")];
  const take = (bytes: number, moved: number) => {
    const isTaken = account.take(bytes, bytes, false, budget.earned(moved));
    if (isTaken) account.charge(-bytes);
    return isTaken;
  };
  other.charge(7 / 8 * total - 4_096);
  assert.ok(take(4_096, 0));
  other.charge(4_096);
  assert.ok(take(4_096, 0), "at once");
  assert.ok(!take(8_192, 0));
  assert.ok(!take(65_536, 65_536));
  assert.ok(take(65_536, 262_144));
  assert.ok(take(MIB, Infinity), "a 64th of all");
  assert.ok(!take(2 * MIB, Infinity));
  // Who is above its share gets nothing of the last sixteenth.
  other.charge(total / 16);
  assert.ok(!other.take(65_536, 65_536, false, budget.earned(MIB)));
  assert.ok(take(65_536, MIB));
});

Deno.test("a connection is given little at once when memory is short, unless it moves", () => {
  const scene = new Scene(16 * MIB, writeForever);
  const hold = (bytes: number) => {
    scene.charged += bytes;
    scene.server.memory.charge("other", bytes);
  };
  scene.connect("10.0.0.2", false);
  scene.sim.runFor(1_000);
  const [stalled] = scene.accepted;
  assert.equal(stalled!.appetite, 65_536);
  hold(5 * MIB);
  assert.equal(stalled!.appetite, 8_192);
  hold(9 * MIB);
  assert.equal(stalled!.appetite, 2_048);
  const { received } = scene.connect("10.0.0.2", true);
  while (received() < MIB) scene.sim.runFor(10);
  const [, moving] = scene.accepted;
  assert.equal(stalled!.appetite, 2_048);
  assert.equal(moving!.appetite, 65_536);
  hold(2 * MIB);
  assert.equal(moving!.appetite, 2_048, "next to nothing is left");
});

Deno.test("a budget is a positive number of bytes", () => {
  for (const total of [0, -1, NaN]) assert.throws(() => new MemoryBudget({ total }), RangeError);
});
