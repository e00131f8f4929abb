import assert from "node:assert/strict";
import { DatagramLink, type DatagramSocket } from "../../../proxy/link/datagram.ts";
import { fakePacket, LinkHost } from "./host.ts";

/** A socket whose datagrams are the test's; sends wait until they are let go. */
class HeldSocket implements DatagramSocket<string> {
  readonly sent: (readonly [string, Uint8Array])[] = [];
  isHolding = false;
  #receives: ((got: readonly [Uint8Array, string]) => void)[] = [];
  #sends: (() => void)[] = [];

  receive(): Promise<readonly [Uint8Array, string]> {
    const { promise, resolve } = Promise.withResolvers<readonly [Uint8Array, string]>();
    this.#receives.push(resolve);
    return promise;
  }

  send(bytes: Uint8Array, to: string): Promise<number> {
    this.sent.push([to, bytes.slice()]);
    if (!this.isHolding) return Promise.resolve(bytes.length);
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#sends.push(() => resolve(bytes.length));
    return promise;
  }

  close(): void {}

  say(from: string, bytes: Uint8Array): void {
    this.#receives.shift()!([bytes, from]);
  }

  release(): void {
    this.isHolding = false;
    for (const send of this.#sends.splice(0)) send();
  }
}

function linkTo(remote?: string) {
  const socket = new HeldSocket();
  const clock = { now: 0 };
  const link = new DatagramLink<string>({
    name: "phone",
    place: "test",
    mtu: 1500,
    socket,
    nameOf: (address) => address,
    now: () => clock.now,
    ...(remote !== undefined && { remote }),
  });
  return { link, socket, clock, host: new LinkHost(link) };
}

Deno.test("who sends first has the link, until it is silent for half a minute", async () => {
  const { link, socket, clock, host } = linkTo();
  host.send(fakePacket(0));
  assert.equal(link.counters.drops.down, 1);
  socket.say("a", fakePacket(1));
  await host.until(() => host.received.length === 1);
  assert.deepEqual([link.peer, link.state], ["a", "connected"]);
  host.send(fakePacket(2));
  assert.deepEqual(socket.sent.at(-1), ["a", fakePacket(2)]);
  clock.now = 29_000;
  socket.say("b", fakePacket(3));
  await host.until(() => link.counters.drops.otherSender === 1);
  socket.say("a", fakePacket(4));
  await host.until(() => host.received.length === 2);
  clock.now = 59_001;
  socket.say("b", fakePacket(5));
  await host.until(() => host.received.length === 3);
  assert.deepEqual([link.peer, link.connections], ["b", 2]);
  link.close();
});

Deno.test("a link with a given other side hears no one else; what is no packet is counted", async () => {
  const { link, socket, clock, host } = linkTo("a");
  clock.now = 1e9;
  socket.say("b", fakePacket(1));
  socket.say("a", new Uint8Array(0));
  socket.say("a", new Uint8Array(40));
  socket.say("a", fakePacket(1, 1500));
  socket.say("a", fakePacket(2));
  await host.until(() => host.received.length === 1);
  const { otherSender, empty, notIp, tooBig } = link.counters.drops;
  assert.deepEqual([otherSender, empty, notIp, tooBig], [1, 1, 1, 1]);
  link.close();
});

Deno.test("sends in flight are bounded: the stack waits, what is passed on is dropped", async () => {
  const { link, socket, host } = linkTo("a");
  socket.isHolding = true;
  let sent = 0;
  while (host.send(fakePacket(1, 100))) assert.ok(++sent < 10_000);
  assert.ok(sent >= 64);
  host.forward(fakePacket(2));
  assert.equal(link.counters.drops.full, 1);
  const { roused } = host;
  socket.release();
  await host.until(() => host.roused > roused);
  assert.ok(host.send(fakePacket(3)));
  link.close();
});

Deno.test("over real UDP sockets", async () => {
  const open = () => Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const [one, two] = [open(), open()];
  const nameOf = (address: Deno.Addr) => JSON.stringify(address);
  const options = { place: "udp", mtu: 1500, nameOf };
  const near = new DatagramLink<Deno.Addr>({ ...options, name: "near", socket: one });
  const far = new DatagramLink<Deno.Addr>({
    ...options,
    name: "far",
    socket: two,
    remote: one.addr,
  });
  const [a, b] = [new LinkHost(near), new LinkHost(far)];
  b.send(fakePacket(1));
  await a.until(() => a.received.length === 1);
  for (let i = 0; i < 20; i++) a.send(fakePacket(i, i));
  await b.until(() => b.received.length === 20);
  near.close();
  far.close();
});
