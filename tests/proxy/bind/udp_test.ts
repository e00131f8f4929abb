import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { type Bind, BindError } from "../../../proxy/bind/bind.ts";
import { TransmitPool } from "../../../proxy/arena/transmit_pool.ts";
import type { UdpBind, UdpBindOptions } from "../../../proxy/bind/udp.ts";
import { DenoUdpBind } from "../../../proxy/bind/udp_deno.ts";
import { NetAddress, NetSender } from "../../../proxy/bind/net_address.ts";
import { SocketAddress, SocketSender } from "../../../proxy/bind/socket_address.ts";
import { UdpAddress } from "../../../proxy/bind/udp_address.ts";
import { openUdpBind } from "../../../proxy/bind/udp_open.ts";
import { FfiUdpBind } from "../../../proxy/bind/udp_ffi.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { Gateway } from "../../../proxy/gateway/gateway.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { pattern, readAll, startPair, until, writeAll } from "../pair.ts";

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
  const known: UdpAddress[] = []; // as peers keep them
  const turn = () => {
    bind.drain((buffer, offset, length, sender) => {
      const from = known.find((endpoint) => sender.isAt(endpoint)) ?? sender.toEndpoint();
      assert.ok(from instanceof UdpAddress && from.bind === bind);
      known.push(from);
      received.push({ bytes: buffer.slice(offset, offset + length), from });
    });
    bind.flush();
    if (bind.hasReady) setImmediate(turn);
  };
  const bind = openUdpBind({ pool, ...options }, ffi);
  pool.onExhausted = () => bind.flush();
  bind.start({
    onReadable: () => void setImmediate(turn),
    onSent() {},
    onFailed: (error) => assert.fail(error),
  });
  try {
    await use(bind, received, pool);
  } finally {
    await bind.close();
    assert.equal(pool.free, pool.slots, "every slot came back");
  }
}

/** Whose the endpoints of a cache alone are. */
const BIND = {} as Bind;

function plain(hostname: string): Deno.DatagramConn & { port: number } {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  return Object.assign(socket, { port: (socket.addr as Deno.NetAddr).port });
}

bindTest(
  "a slot is in flight when it has been sent, the last free one too, and more can be taken",
  { pool: new TransmitPool(1420, { memory: new Uint8Array(8_192), offset: 0, length: 8_192 }) },
  async (bind, _received, pool) => {
    const socket = plain("127.0.0.1");
    const to = bind.endpoint(new IpAddress(Uint8Array.of(127, 0, 0, 1)), socket.port);
    const total = bind instanceof FfiUdpBind ? 3 * pool.slots : pool.slots;
    for (let i = 0; i < total; i++) {
      const slot = pool.take();
      assert.ok(slot >= 0, `slot ${i} of ${total}`);
      pool.buffer[slot] = i;
      assert.equal(bind.send(to, pool.buffer, slot, 100, true), true, "it is the bind's now");
    }
    bind.flush();
    const arrived = new Set<number>();
    for (let i = 0; i < total; i++) arrived.add((await socket.receive())[0][0]!);
    assert.equal(arrived.size, total, "every datagram as it was built");
    socket.close();
  },
);

Deno.test("a slot that is given back twice is a defect that is told, and no second owner gets it", () => {
  const pool = new TransmitPool(1420);
  const slot = pool.take();
  pool.give(slot);
  assert.throws(() => pool.give(slot), /given back twice/);
  assert.equal(pool.free, pool.slots);
});

bindTest("one socket hears IPv4 and IPv6, and gives IPv4 as IPv4", {}, async (bind, received) => {
  for (const hostname of ["127.0.0.1", "::1"]) {
    const socket = plain(hostname);
    await socket.send(pattern(100), { transport: "udp", hostname, port: bind.port });
    await until(() => received.length === 1, "it has arrived");
    const { from, bytes } = received.pop()!;
    assert.equal(`${new IpAddress(from.address)}`, hostname);
    assert.equal(from.port, socket.port);
    assert.deepEqual(bytes, pattern(100));
    const configured = bind.endpoint(new IpAddress(from.address), from.port);
    assert.equal(configured.toString(), from.toString());
    bind.send(from, pattern(40), 0, 40, false);
    bind.flush();
    const [answer, sender] = await socket.receive();
    assert.deepEqual(answer, pattern(40));
    assert.equal((sender as Deno.NetAddr).port, bind.port);
    socket.close();
  }
});

for (const address of [undefined, "0.0.0.0"]) {
  Deno.test({
    name: `over FFI, an answer leaves from the address that was sent to, bound to ${
      address ?? "any"
    }`,
    ignore: Deno.build.os !== "linux",
    fn: () =>
      withBind(true, address === undefined ? {} : { address }, async (bind, received) => {
        const socket = plain("127.0.0.1");
        const hear = async (hostname: string) => {
          await socket.send(pattern(20), { transport: "udp", hostname, port: bind.port });
          await until(() => received.length === 1, "it has arrived");
          return received.pop()!.from;
        };
        const answeredFrom = async (to: UdpAddress) => {
          bind.send(to, pattern(40), 0, 40, false);
          bind.flush();
          return ((await socket.receive())[1] as Deno.NetAddr).hostname;
        };
        const seen = new Map<string, UdpAddress>();
        for (let round = 0; round < 3; round++) {
          for (const local of ["127.0.0.3", "127.0.0.1", "127.0.0.2"]) {
            const from = await hear(local);
            assert.equal(await answeredFrom(from), local);
            assert.equal(from, seen.get(local) ?? from, "the same object while it is the same");
            seen.set(local, from);
            assert.equal(from.toString(), `127.0.0.1:${socket.port}`);
          }
        }
        assert.equal(new Set(seen.values()).size, 3, "one that has moved is another");
        // Whoever is configured has not been heard anywhere.
        const configured = bind.endpoint(IpAddress.v4(127, 0, 0, 1), socket.port);
        assert.equal((configured as SocketAddress).source, undefined);
        assert.equal(await answeredFrom(configured), "127.0.0.1");
        // Bound to one address, everything leaves from that.
        const old = seen.get("127.0.0.2")!;
        bind.rebind({ port: 0, address: address === undefined ? "::ffff:127.0.0.3" : "127.0.0.3" });
        assert.equal(await answeredFrom(old), "127.0.0.3");
        bind.rebind({ port: 0, ...(address !== undefined && { address }) });
        assert.equal(await answeredFrom(await hear("127.0.0.2")), "127.0.0.2");
        socket.close();
      }),
  });
}

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
  bind.send(unreachable, pattern(10), 0, 10, false); // IPv6 from an IPv4 socket
  bind.send(to, pattern(2000), 0, 2000, false); // larger than a slot, and not in one
  bind.flush();
  await until(() => bind.counters.sendErrors === 1, "the error is counted");
  assert.equal(bind.counters.noSlot, 1);
  const slot = pool.take();
  pool.buffer.set(pattern(1000), slot);
  assert.equal(bind.send(to, pool.buffer, slot, 1000, true), true);
  bind.flush();
  assert.deepEqual((await socket.receive())[0], pattern(1000).subarray(0, 1000));
  await until(() => pool.free === pool.slots, "the slot is free again");
  socket.close();
});

bindTest(
  "bursts, silence and single datagrams follow one another, all whole and in order",
  {},
  async (
    bind,
    received,
  ) => {
    const socket = plain("127.0.0.1");
    const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: bind.port };
    let sent = 0;
    const send = () => socket.send(pattern(100 + sent % 7, ++sent), to);
    await send(); // Deno reverses what is sent at once before a socket is known to be writable
    await until(() => received.length === sent, "it has arrived");
    for (let round = 0; round < 6; round++) {
      await Promise.all(Array.from({ length: 60 }, send));
      await until(() => received.length === sent, "the burst has arrived");
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 30)); // it is quiet again
      for (let i = 0; i < 40; i++) {
        await send();
        await until(() => received.length === sent, "it has arrived");
      }
    }
    received.forEach(({ bytes }, i) => assert.deepEqual(bytes, pattern(100 + i % 7, i + 1)));
    assert.equal(bind.counters.received, sent);
    socket.close();
  },
);

bindTest("many sent in a turn arrive as they were sent, whatever sends them", {}, async (
  bind,
  received,
  pool,
) => {
  const other = new TransmitPool(1420);
  const sender = openUdpBind({ pool: other }, !(bind instanceof DenoUdpBind));
  const to = sender.endpoint(IpAddress.v4(127, 0, 0, 1), bind.port);
  // Deno reverses what is sent at once before a socket is known to be writable.
  sender.send(to, pattern(1), 0, 1, false);
  sender.flush();
  await until(() => received.length === 1, "the first has arrived");
  received.pop();
  let sent = 0;
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 50; i++) { // what Deno's receive buffer holds
      const slot = other.take();
      const size = i === 49 ? 300 : 1400;
      other.buffer.set(pattern(size, sent + 1), slot);
      sender.send(to, other.buffer, slot, size, true);
      sent++;
    }
    sender.flush();
    await until(() => received.length === sent, "all have arrived");
  }
  received.forEach(({ bytes }, i) =>
    assert.deepEqual(bytes, pattern(i % 50 === 49 ? 300 : 1400, i + 1))
  );
  assert.deepEqual([sender.counters.sent, sender.counters.sendErrors], [sent + 1, 0]);
  assert.equal(pool.free, pool.slots);
  await sender.close();
  assert.equal(other.free, other.slots);
});

bindTest(
  "moved to another port it is heard there, old addresses go on, a port in use changes nothing",
  {},
  async (
    bind,
    received,
  ) => {
    const socket = plain("127.0.0.1");
    const hear = async () => {
      const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: bind.port };
      await socket.send(pattern(10, bind.port), to);
      await until(() => received.length === 1, "it has arrived");
      assert.deepEqual(received[0]!.bytes, pattern(10, bind.port));
      return received.pop()!.from;
    };
    const first = bind.port;
    const from = await hear();
    const taken = plain("0.0.0.0");
    assert.throws(() => bind.rebind({ port: taken.port }), /is in use, expected a free UDP port/);
    assert.equal(bind.port, first);
    assert.equal(await hear(), from);
    for (let round = 0; round < 3; round++) {
      const port = bind.port;
      bind.rebind({ port: 0 });
      assert.notEqual(bind.port, port);
      plain("0.0.0.0").close();
      assert.equal(await hear(), from);
      bind.send(from, pattern(40), 0, 40, false);
      bind.flush();
      const [answer, sender] = await socket.receive();
      assert.deepEqual(answer, pattern(40));
      assert.equal((sender as Deno.NetAddr).port, bind.port);
    }
    bind.rebind({ port: first });
    assert.equal(bind.port, first, "the old port was given up");
    assert.equal(await hear(), from);
    assert.equal(bind.counters.receiveErrors, 0);
    taken.close();
    socket.close();
  },
);

bindTest("a peer that is not there does not keep the others from being heard", {}, async (
  bind,
  received,
) => {
  const [gone, socket] = [plain("127.0.0.1"), plain("127.0.0.1")];
  const nobody = bind.endpoint(IpAddress.v4(127, 0, 0, 1), gone.port);
  gone.close();
  for (let round = 1; round <= 20; round++) {
    bind.send(nobody, pattern(10), 0, 10, false); // answered by ICMP port unreachable
    bind.flush();
    await socket.send(pattern(20), { transport: "udp", hostname: "127.0.0.1", port: bind.port });
    await until(() => received.length === round, "it has arrived");
  }
  socket.close();
});

{
  // As the engine may lay it out: slots and received datagrams in one memory.
  const { buffer } = new WebAssembly.Memory({ initial: 40, maximum: 40 });
  const memory = new Uint8Array(buffer as ArrayBuffer);
  const pool = new TransmitPool(1420, { memory, offset: 128, length: 100_000 });
  const receiveRegion = { memory, offset: 131_072, length: 8 * 65_536 };
  bindTest("packets can be in a WebAssembly memory that others use as well", {
    pool,
    receiveRegion,
  }, async (bind, received) => {
    const socket = plain("127.0.0.1");
    const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: bind.port };
    for (let i = 1; i <= 100; i++) {
      await socket.send(pattern(1452, i), to);
      await until(() => received.length === 1, "it has arrived");
      const { bytes, from } = received.pop()!;
      assert.deepEqual(bytes, pattern(1452, i));
      const slot = pool.take();
      assert.ok(slot >= 128 && slot + pool.slotSize <= 100_128);
      memory.set(bytes.subarray(0, 1400), slot);
      bind.send(from, memory, slot, 1400, true);
      assert.equal(bind.send(from, memory, 131_072, 100, false), false, "copied");
      bind.flush();
      assert.deepEqual((await socket.receive())[0], pattern(1452, i).subarray(0, 1400));
      assert.equal((await socket.receive())[0].length, 100);
      await until(() => pool.free === pool.slots, "the slots are free again");
    }
    assert.ok(memory.subarray(0, 128).every((byte) => byte === 0));
    socket.close();
  });
}

bindTest("marks are refused with the reason where they cannot be set", {}, (bind) => {
  const refused = (message: RegExp) =>
    assert.throws(() => bind.setMark(7), (error) => {
      assert.ok(error instanceof BindError && error.setting === "mark");
      assert.match(error.message, message);
      return true;
    });
  if (bind instanceof DenoUdpBind) refused(/Deno's sockets, expected 0 or off, or the flag --ffi/);
  else if (isRoot()) {
    bind.setMark(7);
    assert.equal(bind.mark, 7);
  } else refused(/needs CAP_NET_ADMIN/);
  bind.setMark(0);
  assert.equal(bind.mark, 0);
  return Promise.resolve();
});

bindTest("when every slot is in use a foreign datagram is dropped and counted", {}, async (
  bind,
  _received,
  pool,
) => {
  const taken: number[] = [];
  for (let slot; (slot = pool.take()) >= 0;) taken.push(slot);
  bind.send(bind.endpoint(IpAddress.v4(127, 0, 0, 1), 9), pattern(10), 0, 10, false);
  assert.equal(bind.counters.noSlot, 1);
  for (const slot of taken) pool.give(slot);
  await bind.sent(100);
});

Deno.test({
  name: "a gateway has the kind of socket that its options say, and carries data over either",
  ignore: Deno.build.os !== "linux",
  async fn() {
    for (const ffi of [false, true]) {
      const gateway = await Gateway.start(
        loadConfig({ interface: { privateKey: encodeKey(generatePrivateKey()) } }).config,
        { ffi },
      );
      assert.equal(gateway.udp instanceof FfiUdpBind, ffi);
      await gateway.close();
      await using pair = await startPair({ proxy: null, gateway: { ffi }, client: { ffi: !ffi } });
      using listener = pair.gateway.listen({ port: 7 });
      using conn = await pair.client.connect({ hostname: "10.9.0.1", port: 7 });
      using accepted = await listener.accept();
      const reading = readAll(accepted);
      await writeAll(conn, pattern(500_000));
      await conn.closeWrite();
      assert.deepEqual(await reading, pattern(500_000));
    }
  },
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

const netAddr = (hostname: string, port = 51820): Deno.NetAddr => ({
  transport: "udp",
  hostname,
  port,
});

Deno.test("a sender that Deno tells is at the endpoint that was made of it, and at a configured one", () => {
  const sender = new NetSender(BIND, netAddr("::"));
  const cases = [
    ["::ffff:192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.1", false],
    ["2001:db8::1", "2001:db8::1", true],
    ["fe80::1", "fe80::1", true],
    ["::1", "::1", true],
  ] as const;
  for (const [hostname, plain, isDualStack] of cases) {
    sender.from = netAddr(hostname);
    const endpoint = sender.toEndpoint();
    assert.equal(endpoint.toString(), plain.includes(":") ? `[${plain}]:51820` : `${plain}:51820`);
    assert.equal(sender.isAt(endpoint), true);
    assert.equal(
      sender.isAt(NetAddress.of(BIND, new IpAddress(endpoint.address), 51820, isDualStack)),
      true,
    );
    const bytes = new Uint8Array(16);
    assert.equal(sender.readAddress(bytes), endpoint.address.length);
    assert.deepEqual(bytes.subarray(0, endpoint.address.length), endpoint.address);
    const kept = sender.copy();
    sender.from = netAddr("2001:db8::2");
    assert.equal(sender.isAt(endpoint), false);
    sender.from = netAddr(hostname, 7);
    assert.equal(sender.isAt(endpoint), false);
    assert.equal(kept.isAt(endpoint), true);
    assert.equal(kept.port, 51820);
  }
  sender.from = netAddr("fe80::1%eth0", 7);
  assert.equal(sender.toEndpoint().toString(), "[fe80::1]:7");
});

/** As a `ReceiveRing` has it, beside others: a socket address, and the address of this host. */
function heardFrom(ip: IpAddress, isDualStack: boolean, local = 0) {
  const { sockaddr } = SocketAddress.of(BIND, ip, 51820, 0, isDualStack);
  const words = new Int32Array(24);
  const at = 12;
  const sender = new SocketSender(BIND, words, at);
  new Uint8Array(words.buffer).set(sockaddr, at * 4);
  const lastLocal = at + 8 + (isDualStack ? 3 : 0);
  words[lastLocal] = local;
  return { words, at, sender, lastLocal, sockaddr };
}

Deno.test("a sender that the kernel tells is at the endpoint that was made of it", () => {
  const addresses = [IpAddress.v4(192, 0, 2, 1), ...["2001:db8::1", "fe80::1"].map(ipv6)];
  for (const isDualStack of [true, false]) {
    for (const ip of addresses) {
      if (ip.version === 6 && !isDualStack) continue;
      const { words, at, sender, sockaddr } = heardFrom(ip, isDualStack);
      const endpoint = sender.toEndpoint();
      const text = ip.version === 4 ? `${ip}:51820` : `[${ip}]:51820`;
      assert.equal(`${endpoint}`, text);
      assert.equal(`${SocketAddress.of(BIND, ip, 51820, 0, isDualStack)}`, text);
      assert.deepEqual(endpoint.sockaddr, sockaddr);
      assert.deepEqual(endpoint.address, ip.bytes);
      assert.equal(sender.port, 51820);
      const bytes = new Uint8Array(16);
      const length = sender.readAddress(bytes);
      assert.deepEqual(new IpAddress(bytes.slice(0, length)).unmapped(), ip);
      const kept = sender.copy();
      for (let word = 0; word < (isDualStack ? 12 : 9); word++) {
        if (isDualStack ? word === 1 || word === 7 : word > 1 && word < 8) continue; // say nothing
        words[at + word]! ^= 0x0100_0000;
        assert.equal(sender.isAt(endpoint), false, `word ${word}`);
        assert.equal(kept.isAt(endpoint), true);
        words[at + word]! ^= 0x0100_0000;
        assert.equal(sender.isAt(endpoint), true);
      }
      assert.equal(sender.isAt(SocketAddress.of(BIND, ip, 51820, 0, isDualStack)), false);
      assert.equal(new SocketSender({ ...BIND }, words, at).isAt(endpoint), false, "another bind");
    }
  }
  const four = SocketAddress.of(BIND, IpAddress.v4(192, 0, 2, 1), 51820, 0, false);
  assert.deepEqual([...four.sockaddr.subarray(0, 8)], [2, 0, 0xca, 0x6c, 192, 0, 2, 1]);
});

Deno.test("answers to a link-local address leave by the interface that heard it, of a new socket too", () => {
  const { words, at, sender } = heardFrom(ipv6("fe80::1"), true);
  words[at + 6] = 3;
  const endpoint = sender.toEndpoint();
  assert.equal(endpoint.scope, 3);
  const again = SocketAddress.of(BIND, ipv6("fe80::1"), 51820, endpoint.scope, true);
  assert.deepEqual(again.sockaddr, endpoint.sockaddr);
  assert.equal(new Int32Array(again.sockaddr.buffer.slice(24, 28))[0], 3);
});

Deno.test("a sender heard at another address of this host is elsewhere, and regains a lost source", () => {
  for (const isDualStack of [true, false]) {
    const ip = IpAddress.v4(192, 0, 2, 1);
    const { words, sender, lastLocal } = heardFrom(ip, isDualStack, 0x0100007f);
    const one = sender.toEndpoint();
    words[lastLocal] = 0x0200007f;
    const two = sender.toEndpoint();
    assert.equal(sender.isAt(one), false);
    assert.equal(`${one}`, `${two}`);
    assert.equal([...one.source!].pop(), 0x0100007f);
    assert.equal(one.source!.length, isDualStack ? 4 : 1);
    one.source = undefined; // the system had it no more
    assert.equal(sender.isAt(one), false);
    assert.equal(one.source, undefined);
    words[lastLocal] = 0x0100007f;
    assert.equal(sender.isAt(one), true);
    assert.equal([...one.source!].pop(), 0x0100007f, "heard there, it is there again");
    words[lastLocal] = 0;
    assert.equal(sender.toEndpoint().source, undefined, "nothing is known");
  }
});

function ipv6(text: string): IpAddress {
  return parseIpAddress(text)!;
}

function isRoot(): boolean {
  return Deno.uid() === 0;
}
