import assert from "node:assert/strict";
import type { StreamFraming } from "../../../proxy/link/framing.ts";
import {
  type StreamConnection,
  StreamLink,
  type StreamSource,
} from "../../../proxy/link/stream.ts";
import { ConnectingSource, ListeningSource } from "../../../proxy/link/stream_source.ts";
import { fakePacket, LinkHost } from "./host.ts";

const MTU = 1500;

/** A connection that the test holds the other end of. */
class Held implements StreamConnection {
  readonly written: number[] = [];
  isClosed = false;
  /** Bytes that may be written; the rest waits. */
  takes = Infinity;
  #reads: { into: Uint8Array; resolve: (count: number | null) => void }[] = [];
  #come: number[] = [];
  #hasEnded = false;
  #writes: { bytes: Uint8Array; resolve: (count: number) => void }[] = [];

  read(into: Uint8Array): Promise<number | null> {
    const { promise, resolve } = Promise.withResolvers<number | null>();
    this.#reads.push({ into, resolve });
    this.#serve();
    return promise;
  }

  write(bytes: Uint8Array): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#writes.push({ bytes, resolve });
    this.#take();
    return promise;
  }

  close(): void {
    this.isClosed = true;
  }

  /** Comes from the other side. */
  say(bytes: Iterable<number>): void {
    for (const byte of bytes) this.#come.push(byte);
    this.#serve();
  }

  end(): void {
    this.#hasEnded = true;
    this.#serve();
  }

  allow(count: number): void {
    this.takes = count;
    this.#take();
  }

  #serve(): void {
    const read = this.#reads[0];
    if (read === undefined || this.#come.length === 0 && !this.#hasEnded) return;
    this.#reads.shift();
    const part = this.#come.splice(0, read.into.length);
    read.into.set(part);
    read.resolve(part.length === 0 ? null : part.length);
  }

  #take(): void {
    const write = this.#writes[0];
    if (write === undefined || this.takes <= 0) return;
    const count = Math.min(write.bytes.length, this.takes);
    this.takes -= count;
    for (const byte of write.bytes.subarray(0, count)) this.written.push(byte);
    this.#writes.shift();
    write.resolve(count);
  }
}

/** A source whose other sides are the test's. */
function linkTo(
  framing: StreamFraming,
  { losesSides = false, ...options }: {
    stallMs?: number;
    deadMs?: number;
    now?: () => number;
    losesSides?: boolean;
  } = {},
) {
  let offer: (connection: StreamConnection, peer: string) => Promise<void>;
  const source: StreamSource & { isClosed: boolean } = {
    place: "test",
    isListening: true,
    losesSides,
    isClosed: false,
    start: (take) => void (offer = take),
    close() {
      this.isClosed = true;
    },
  };
  const link = new StreamLink({ name: "phone", framing, mtu: MTU, source, ...options });
  const host = new LinkHost(link);
  const come = (peer = "someone") => {
    const held = new Held();
    const over = offer(held, peer);
    return { held, over };
  };
  return { link, host, come, source };
}

function frame(bytes: Uint8Array): number[] {
  return [bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

/** Until one packet is being written and no other fits behind it. @returns how many that takes. */
async function fill(host: LinkHost): Promise<number> {
  assert.ok(host.send(fakePacket(0, 1480)));
  const { turns } = host;
  await host.until(() => host.turns > turns);
  let sent = 1;
  while (host.send(fakePacket(sent & 0xff, 1480))) assert.ok(++sent < 1_000);
  return sent;
}

Deno.test("packets come in pieces of any size, and leave framed and in order", async () => {
  const { link, host, come } = linkTo("length16");
  const { held } = come();
  const packets = [fakePacket(1), fakePacket(2, 700), fakePacket(3, 1480)];
  const bytes = packets.flatMap(frame);
  for (let at = 0; at < bytes.length; at += 333) held.say([...bytes.slice(at, at + 333)]);
  await host.until(() => host.received.length === 3);
  assert.deepEqual(host.received, packets);
  for (const packet of packets) assert.ok(host.send(packet));
  host.forward(fakePacket(4));
  await host.until(() => held.written.length === bytes.length + 22);
  assert.deepEqual(held.written, [...bytes, ...frame(fakePacket(4))]);
  const { packetsIn, packetsOut, bytesIn, bytesOut } = link.counters;
  assert.deepEqual([packetsIn, packetsOut, bytesIn, bytesOut], [3, 4, 2240, 2260]);
  assert.deepEqual([link.state, link.peer, link.connections], ["connected", "someone", 1]);
  link.close();
  assert.ok(held.isClosed);
});

Deno.test("length32 has four bytes in front", async () => {
  const { host, come, link } = linkTo("length32");
  const { held } = come();
  held.say([0, 0, ...frame(fakePacket(5))]);
  await host.until(() => host.received.length === 1);
  host.send(fakePacket(6));
  await host.until(() => held.written.length === 24);
  assert.deepEqual(held.written, [0, 0, ...frame(fakePacket(6))]);
  link.close();
});

Deno.test("what is no packet is dropped and counted; too much of it, or a length that cannot be, ends the side", async () => {
  const { link, host, come } = linkTo("length16");
  const first = come();
  const strange = frame(new Uint8Array(30));
  first.held.say([
    0,
    0,
    ...strange,
    ...frame(Uint8Array.of(0x45, 1)),
    ...frame(fakePacket(1, 1490)),
  ]);
  first.held.say([255, 255, 0x45, ...new Uint8Array(65_534), ...frame(fakePacket(9))]);
  await host.until(() => host.received.length === 1);
  assert.deepEqual(host.received, [fakePacket(9)]);
  const { empty, notIp, tooBig } = link.counters.drops;
  assert.deepEqual([empty, notIp, tooBig], [1, 2, 2]);
  first.held.say([...Array.from({ length: 15 }, () => strange).flat(), ...frame(fakePacket(8))]);
  await host.until(() => host.received.length === 2);
  assert.equal(link.state, "connected");
  first.held.say([...Array.from({ length: 40 }, () => strange).flat()]);
  await first.over;
  assert.ok(first.held.isClosed);
  assert.match(link.lastEnd!, /16 frames in a row were no IP packet: is Framing right\?/);
  assert.equal(link.state, "listening");
  const second = come();
  second.held.say([...frame(fakePacket(7)).slice(0, 10)]);
  second.held.end();
  await second.over;
  assert.equal(link.lastEnd, "it has closed the connection, 10 bytes into a frame");
  const third = come();
  third.held.say([...frame(fakePacket(6))]);
  await host.until(() => host.received.length === 3, "nothing of the half frame is left");
  assert.deepEqual(host.received[2], fakePacket(6));
  link.close();

  const other = linkTo("length32");
  const fourth = other.come();
  fourth.held.say([0, 2, 0, 0, 1]);
  await fourth.over;
  assert.match(other.link.lastEnd!, /^a frame of 131072 bytes, .* is Framing right\?$/);
  other.link.close();
});

Deno.test("one side at a time: a second is refused until the first is gone", async () => {
  const { link, host, come } = linkTo("length16");
  const first = come("first");
  const second = come("second");
  await second.over;
  assert.deepEqual([second.held.isClosed, first.held.isClosed, link.peer], [true, false, "first"]);
  first.held.end();
  await first.over;
  const third = come("third");
  assert.equal(link.peer, "third");
  third.held.say([...frame(fakePacket(1))]);
  await host.until(() => host.received.length === 1);
  assert.equal(link.connections, 2);
  link.close();
});

Deno.test("a second takes the place of one that may be gone without a word and was not heard for long", async () => {
  let now = 1_000;
  const { link, host, come } = linkTo("length16", { losesSides: true, now: () => now });
  const first = come("first");
  now += 20_000;
  first.held.say(frame(fakePacket(1)));
  await host.until(() => host.received.length === 1);
  now += 29_999;
  const early = come("early");
  await early.over;
  assert.deepEqual([early.held.isClosed, first.held.isClosed], [true, false]);
  now += 1;
  const second = come("second");
  await first.over;
  assert.deepEqual([first.held.isClosed, second.held.isClosed], [true, false]);
  assert.deepEqual(
    [link.peer, link.lastEnd],
    ["second", "it was silent for 30 s, and second has come"],
  );
  second.held.say(frame(fakePacket(2)));
  await host.until(() => host.received.length === 2);
  assert.deepEqual([link.connections, link.refused], [2, 1]);
  link.close();

  // A Unix socket's client that is there is there, however silent.
  const local = linkTo("length16", { now: () => now });
  const silent = local.come("silent");
  now += 1_000_000;
  await local.come("other").over;
  assert.deepEqual([silent.held.isClosed, local.link.peer], [false, "silent"]);
  local.link.close();
});

Deno.test("without another side packets are dropped and counted, and nobody waits for a slot", () => {
  const { link, host } = linkTo("length16");
  for (let i = 0; i < 1_000; i++) assert.ok(host.send(fakePacket(1)));
  host.forward(fakePacket(2));
  assert.equal(link.counters.drops.down, 1_001);
  link.close();
});

Deno.test("a slow side: the stack waits for slots, what is passed on is dropped, and both are told when it goes on", async () => {
  const { link, host, come } = linkTo("length16", { stallMs: 60_000 });
  const { held } = come();
  held.takes = 0;
  const sent = await fill(host);
  assert.ok(sent * 1502 > 200_000 && sent * 1502 < 300_000, `${sent} packets wait`);
  host.forward(fakePacket(2, 1480));
  assert.equal(link.counters.drops.full, 1);
  const { roused } = host;
  held.allow(Infinity);
  await host.until(() => host.roused > roused);
  assert.ok(host.send(fakePacket(3)));
  await host.until(() => held.written.length === sent * 1502 + 22);
  link.close();
});

Deno.test("a side that takes nothing for long is dropped to, then given up; one byte taken is enough to stay", async () => {
  const { link, host, come } = linkTo("length16", { stallMs: 60, deadMs: 400 });
  const { held, over } = come();
  held.takes = 0;
  await fill(host);
  await host.until(() => host.send(fakePacket(2, 1480)), "slots again");
  assert.equal(link.counters.drops.stalled, 1);
  held.allow(1);
  await host.until(() => !host.send(fakePacket(2, 1480)), "it moves: the stack waits again");
  await over;
  assert.equal(link.lastEnd, "it has taken nothing for 0.4 s");
  assert.ok(held.isClosed);
  link.close();
});

Deno.test("while there is no room in the tunnel no more is read than the buffer holds", async () => {
  const { link, host, come } = linkTo("length16");
  const { held } = come();
  host.hasRoom = false;
  held.say([...frame(fakePacket(1))]);
  await host.until(() => link.hasReady);
  held.say([...frame(fakePacket(2))]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(host.received.length, 0);
  host.hasRoom = true;
  host.wake();
  await host.until(() => host.received.length === 2);
  link.close();
});

Deno.test("over real sockets: a listener takes one after the other, a connecting link comes back by itself", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const near = new StreamLink({
    name: "near",
    framing: "length16",
    mtu: MTU,
    source: new ListeningSource("tcp:here", listener),
  });
  let attempts = 0;
  const connect = () => {
    attempts++;
    return Deno.connect({ hostname: "127.0.0.1", port });
  };
  const far = new StreamLink({
    name: "far",
    framing: "length16",
    mtu: MTU,
    source: new ConnectingSource("far", "tcp:there", connect),
  });
  const [a, b] = [new LinkHost(near), new LinkHost(far)];
  await a.until(() => near.peer !== undefined && far.peer !== undefined);
  assert.match(near.peer!, /^127\.0\.0\.1:\d+$/);
  const second = await Deno.connect({ hostname: "127.0.0.1", port });
  assert.equal(await second.read(new Uint8Array(1)), null, "refused");
  second.close();
  for (let i = 0; i < 500; i++) {
    await a.until(() => a.send(fakePacket(i & 0xff, i)), `packet ${i} is taken`);
  }
  await b.until(() => b.received.length === 500);
  assert.deepEqual(b.received[499], fakePacket(499 & 0xff, 499));
  // The other side breaks it off, by nonsense.
  const connections = far.connections;
  for (let i = 0; i < 16; i++) b.forward(new Uint8Array(50));
  await b.until(() => far.connections > connections && far.state === "connected");
  b.send(fakePacket(7));
  await a.until(() => a.received.length > 0);
  assert.equal(attempts, 2);
  near.close();
  await b.until(() => far.state !== "connected");
  assert.match(far.lastEnd!, /closed|reset/i);
  far.close();
  assert.equal(far.state, "closed");
});
