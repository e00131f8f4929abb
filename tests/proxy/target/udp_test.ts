import { alone } from "../../alone.ts";
import assert from "node:assert/strict";
import { Errno, udpUnavailable } from "../../../ffi/mod.ts";
import type { IcmpErrorKind, IpVersion } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { TargetAddress } from "../../../proxy/target/address.ts";
import { icmpErrorOf } from "../../../proxy/target/errno.ts";
import type { UdpTargets } from "../../../proxy/target/udp.ts";
import { openUdpTargets } from "../../../proxy/target/udp_open.ts";
import { output } from "../../e2e/process.ts";
import { pattern, until } from "../pair.ts";

/** Sockets that drain and flush themselves, as the engine does. */
class Turns implements AsyncDisposable {
  readonly counters = { sendErrors: 0, noBuffer: 0, receiveErrors: 0 };
  readonly isFfi: boolean;
  hasRoom = true;
  turns = 0;
  /** How often a turn was asked for. */
  wakes = 0;
  readonly sockets: UdpTargets;
  #isScheduled = false;
  readonly #sides = new Set<Side>();

  constructor(ffi: boolean) {
    this.isFfi = ffi;
    this.sockets = openUdpTargets({
      counters: this.counters,
      now: () => performance.now(),
      wake: () => this.wake(),
      hasRoom: () => this.hasRoom,
    }, ffi);
  }

  wake(): void {
    this.wakes++;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.turns++;
      this.sockets.flush();
      this.sockets.drain(performance.now());
      if (this.sockets.hasReady) this.wake();
    });
  }

  open(version: IpVersion = 4): Side {
    const side = new Side(this.sockets, version);
    this.#sides.add(side);
    return side;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const side of this.#sides) side.close();
    await this.sockets.close();
  }
}

/** One of the sockets, and what it has handed on. */
class Side {
  readonly received: Uint8Array[] = [];
  readonly senders: number[] = [];
  readonly reports: { readonly port: number; readonly kind: IcmpErrorKind }[] = [];
  readonly #socket;
  isClosed = false;

  constructor(sockets: UdpTargets, version: IpVersion) {
    this.#socket = sockets.open(version, {
      datagram: (senders, sender, buffer, offset, length) => {
        assert.ok(!this.isClosed, "nothing is handed on once it is closed");
        this.received.push(buffer.slice(offset, offset + length));
        this.senders.push(portOf(senders[sender]!));
      },
      report: (receivers, receiver, kind) => {
        this.reports.push({ port: portOf(receivers[receiver]!), kind });
      },
      failed: () => assert.fail("the socket has failed"),
    });
  }

  send(to: TargetAddress, bytes: Uint8Array): boolean {
    return this.#socket.send(to, bytes, 0, bytes.length, 0);
  }

  close(): void {
    if (this.isClosed) return;
    this.#socket.close();
    this.isClosed = true;
  }
}

/** Of a socket address, of which this is the first word. */
function portOf(word: number): number {
  return (word >>> 16 & 0xff) << 8 | word >>> 24;
}

function target(hostname: string, port: number): TargetAddress {
  return new TargetAddress(parseIpAddress(hostname)!, port);
}

function plain(hostname = "127.0.0.1") {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  return Object.assign(socket, {
    port,
    address: target(hostname, port),
    [Symbol.dispose]: () => socket.close(),
  });
}

/** A port that nobody has. */
function closedPort(hostname = "127.0.0.1"): TargetAddress {
  using socket = plain(hostname);
  return socket.address;
}

/** A datagram that says which it is. */
function numbered(number: number, length = 20): Uint8Array {
  const bytes = pattern(length, number + 1);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

/** Which one of {@link numbered} it is, every byte of it. */
function numberOf(bytes: Uint8Array): number {
  const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  assert.deepEqual(bytes, numbered(number, bytes.length));
  return number;
}

/** Descriptors of this process. */
function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

type Use = (turns: Turns, t: Deno.TestContext) => Promise<void>;

function socketTest(name: string, use: Use, kinds: readonly boolean[] = [false, true]): void {
  for (const ffi of kinds) {
    if (ffi && Deno.build.os !== "linux") continue;
    Deno.test(`over ${ffi ? "FFI" : "Deno's sockets"}, ${name}`, async (t) => {
      await using turns = new Turns(ffi);
      await use(turns, t);
    });
  }
}

/** A test of what Deno's sockets have no way to do. */
const ffiTest = (name: string, use: Use) => socketTest(name, use, [true]);

for (const [family, hostname, version] of [["IPv4", "127.0.0.1", 4], ["IPv6", "::1", 6]] as const) {
  socketTest(`datagrams of 0 to 65,507 bytes pass both ways, ${family}`, async (turns) => {
    using peer = plain(hostname);
    const side = turns.open(version);
    for (const size of [0, 1, 63, 64, 65, 1400, 2048, 2049, 65_507]) {
      const sent = pattern(size, size);
      assert.ok(side.send(peer.address, sent));
      const [bytes, from] = await peer.receive(new Uint8Array(65_536));
      assert.deepEqual(bytes, sent);
      await peer.send(bytes, from);
      await until(() => side.received.length === 1, `${size} bytes come back`);
      assert.deepEqual(side.received.pop(), sent);
      assert.equal(side.senders.pop(), peer.port);
    }
  });
}

socketTest("two targets in turn get each its own", async (turns) => {
  using one = plain();
  using two = plain();
  const side = turns.open();
  const count = 40;
  for (let i = 0; i < count; i++) {
    side.send((i % 2 === 0 ? one : two).address, numbered(i, 10 + i % 3));
  }
  for (const [first, peer] of [[0, one], [1, two]] as const) {
    const numbers: number[] = [];
    for (let i = first; i < count; i += 2) numbers.push(numberOf((await peer.receive())[0]));
    // Deno's sends in flight may overtake one another.
    if (!turns.isFfi) numbers.sort((a, b) => a - b);
    assert.deepEqual(numbers, Array.from({ length: count / 2 }, (_, i) => first + 2 * i));
  }
});

socketTest(
  "many sockets each get their own answers, and leave no descriptor",
  (turns, t) =>
    alone(t, async () => {
      const before = descriptors();
      {
        await using peer = echo();
        const sides = Array.from({ length: 500 }, () => turns.open());
        for (let round = 0; round < 3; round++) {
          // A few at a time, or the echo's own queue overflows.
          for (let start = 0; start < sides.length; start += 50) {
            const some = sides.slice(start, start + 50);
            some.forEach((side, i) => side.send(peer.address, numbered(round * 500 + start + i)));
            await until(
              () => some.every(({ received }) => received.length > round),
              "an answer each",
            );
          }
        }
        sides.forEach(({ received }, i) => {
          assert.deepEqual(received.map(numberOf), [i, 500 + i, 1000 + i]);
        });
        for (const side of sides) side.close();
      }
      await until(() => descriptors() <= before, "every descriptor is closed");
    }),
);

socketTest(
  "what was sent before a socket closed still leaves; nothing comes after",
  async (turns) => {
    using peer = plain();
    const side = turns.open();
    side.send(peer.address, pattern(1));
    const [, from] = await peer.receive();
    for (let i = 0; i < 50; i++) await peer.send(pattern(9), from); // is on its way, or waits
    for (let i = 0; i < 3; i++) side.send(peer.address, pattern(10 + i));
    side.close();
    const other = turns.open(); // perhaps of the same descriptor
    other.send(peer.address, pattern(20));
    const lengths = new Set<number>();
    for (let i = 0; i < 4; i++) lengths.add((await peer.receive())[0].length);
    assert.deepEqual([...lengths].sort(), [10, 11, 12, 20]);
    assert.equal(other.received.length, 0);
  },
);

/** A socket of this host that sends back what comes. */
function echo() {
  const socket = plain();
  const running = (async () => {
    for await (const [bytes, from] of socket) await socket.send(bytes, from);
  })();
  return {
    address: socket.address,
    async [Symbol.asyncDispose]() {
      socket.close();
      await running;
    },
  };
}

ffiTest(
  "what a turn sends leaves with it, and what the tunnel has no room for waits",
  async (turns) => {
    using peer = plain();
    const side = turns.open();
    side.send(peer.address, pattern(1));
    const [, from] = await peer.receive();
    turns.hasRoom = false;
    for (let i = 0; i < 100; i++) await peer.send(pattern(30, i + 1), from);
    await until(() => turns.turns > 1, "it was woken");
    assert.equal(turns.sockets.hasReady, false);
    assert.equal(side.received.length, 0);
    turns.hasRoom = true;
    turns.wake();
    await until(() => side.received.length === 100, "all have come");
    side.received.forEach((bytes, i) => assert.deepEqual(bytes, pattern(30, i + 1)));
  },
);

ffiTest("one busy socket does not keep another's datagrams from a turn", async (turns) => {
  using peer = plain();
  const [busy, quiet] = [turns.open(), turns.open()];
  const froms: Deno.Addr[] = [];
  for (const side of [busy, quiet]) {
    side.send(peer.address, pattern(1));
    froms.push((await peer.receive())[1]);
  }
  turns.hasRoom = false;
  turns.wakes = 0;
  for (let i = 0; i < 300; i++) await peer.send(pattern(5), froms[0]!);
  await until(() => turns.wakes === 1, "the busy one is woken");
  await peer.send(pattern(6), froms[1]!);
  await until(() => turns.wakes === 2, "and the other");
  turns.hasRoom = true;
  turns.sockets.drain(performance.now());
  assert.equal(quiet.received.length, 1);
  assert.ok(busy.received.length > 1 && busy.received.length < 300, `${busy.received.length}`);
  turns.wake();
  await until(() => busy.received.length === 300, "the busy one's come as well");
});

for (const [hostname, version] of [["127.0.0.1", 4], ["::1", 6]] as const) {
  ffiTest(`a closed port at ${hostname} is reported, once for each datagram`, async (turns) => {
    const side = turns.open(version);
    const nobody = closedPort(hostname);
    for (let i = 1; i <= 3; i++) {
      // The system limits what it reports, to all of this host together: then it is asked again.
      await untilAgain(() => side.send(nobody, pattern(10)), () => side.reports.length === i);
    }
    const port = nobody.netAddr.port;
    assert.deepEqual(side.reports, Array(3).fill({ port, kind: "port-unreachable" }));
    assert.equal(turns.counters.sendErrors, 0);
  });
}

ffiTest("reports lose no datagram of the same socket, neither up nor down", async (turns) => {
  using peer = plain();
  const side = turns.open();
  side.send(peer.address, pattern(1));
  const [, from] = await peer.receive();
  const nobody = closedPort();
  let number = 0;
  let sentToNobody = 0;
  for (let round = 0; round < 20; round++) {
    // The reports come at once, between one datagram of the batch and the next.
    for (let i = 0; i < 10; i++) {
      side.send(nobody, pattern(++sentToNobody)); // each longer: no two are one message
      side.send(peer.address, pattern(100, ++number));
      if (i % 3 === 0) side.send(nobody, pattern(++sentToNobody));
    }
    for (let i = 0; i < 5; i++) await peer.send(pattern(200, round * 5 + i + 1), from);
  }
  for (let i = 1; i <= number; i++) assert.deepEqual((await peer.receive())[0], pattern(100, i));
  await until(() => side.received.length === 100, "all have come down");
  side.received.forEach((bytes, i) => assert.deepEqual(bytes, pattern(200, i + 1)));
  await until(() => side.reports.length === sentToNobody, `${sentToNobody} reports`);
  assert.deepEqual(turns.counters, { sendErrors: 0, noBuffer: 0, receiveErrors: 0 });
});

socketTest("what the system refuses is counted, and holds up nothing", async (turns) => {
  using peer = plain();
  const side = turns.open();
  side.send(target("127.0.0.1", 0), pattern(10));
  side.send(peer.address, pattern(11));
  side.send(peer.address, pattern(65_508));
  side.send(peer.address, pattern(12));
  const lengths = [(await peer.receive())[0].length, (await peer.receive())[0].length];
  assert.deepEqual(lengths.sort(), [11, 12]);
  await until(() => turns.counters.sendErrors === 2, "two are counted");
});

Deno.test("why a datagram was not sent is said as ICMP says it", () => {
  const { ENETUNREACH, EHOSTUNREACH, EACCES, EPERM, EINVAL } = Errno;
  const kinds = [ENETUNREACH, EHOSTUNREACH, EACCES, EPERM, EINVAL].map(icmpErrorOf);
  assert.deepEqual(kinds, [
    "net-unreachable",
    "host-unreachable",
    "prohibited",
    "prohibited",
    undefined,
  ]);
});

Deno.test({
  name:
    "over FFI, whatever fails while everything is opened leaves no descriptor and no thread behind",
  ignore: udpUnavailable() !== undefined,
  fn: (t) =>
    alone(t, () => {
      const options = {
        counters: { sendErrors: 0, noBuffer: 0, receiveErrors: 0 },
        now: () => 0,
        wake() {},
        hasRoom: () => true,
      };
      // What the watch waits on. Libraries are mapped, and have no descriptor.
      const polls = () =>
        [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
          try {
            return Deno.readLinkSync(`/proc/self/fd/${name}`) === "anon_inode:[eventfd]";
          } catch {
            return false; // the one that reads the folder
          }
        }).length;
      const before = polls();
      const { dlopen } = Deno;
      let failures = 0;
      try {
        for (let fails = 1; fails <= 4; fails++) {
          let calls = 0;
          Deno.dlopen = ((...args: Parameters<typeof dlopen>) => {
            if (++calls === fails) throw new Error("no library");
            return dlopen(...args);
          }) as typeof dlopen;
          assert.throws(() => openUdpTargets(options, true), /no library/);
          failures++;
          assert.equal(polls(), before, `after the failure of library ${fails}`);
        }
      } finally {
        Deno.dlopen = dlopen;
      }
      assert.equal(failures, 4);
      return Promise.resolve();
    }),
});

Deno.test({
  name: "with FFI too, an address that --deny-net names gets no datagram, and no ping",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    using allowed = plain("127.0.0.1");
    using denied = plain("127.0.0.2");
    const own = (path: string) => JSON.stringify(import.meta.resolve(`../../../${path}`));
    const program = `
      import { openTargetHost } from ${own("proxy/target/host.ts")};
      import { TargetAddress } from ${own("proxy/target/address.ts")};
      import { parseIpAddress } from ${own("proxy/address.ts")};
      const now = () => performance.now();
      const host = openTargetHost(now, true, () => {});
      console.log(host.icmpUnavailable());
      const counters = { sendErrors: 0, noBuffer: 0, receiveErrors: 0 };
      const sockets = host.openUdp({ counters, now, wake() {}, hasRoom: () => true });
      const failed = () => console.log("failed");
      const socket = sockets.open(4, { datagram() {}, report() {}, failed });
      for (const [ip, port] of [["127.0.0.2", ${denied.port}], ["127.0.0.1", ${allowed.port}]]) {
        socket.send(new TargetAddress(parseIpAddress(ip), port), new Uint8Array(3), 0, 3, 0);
        sockets.flush();
      }
      const until = now() + 20_000;
      while (counters.sendErrors === 0 && now() < until) await new Promise((r) => setTimeout(r, 5));
      console.log(counters.sendErrors);
      socket.close();
      await sockets.close();
      await host.close();`;
    const flags = ["--no-check", "--quiet", "--no-prompt", "--allow-net", "--deny-net=127.0.0.2"];
    const command = [Deno.execPath(), "run", ...flags, "--unstable-net", "--allow-ffi", "-"];
    assert.equal(
      await output(command, { input: program }),
      "the permission to reach every address (--allow-net)\n1\n",
    );
    assert.equal((await allowed.receive())[0].length, 3);
    // What was sent before would have come before.
    using marker = plain("127.0.0.1");
    await marker.send(new Uint8Array(1), denied.addr);
    assert.equal((await denied.receive())[0].length, 1);
  },
});

/** Does something, and again each second, until it has had its effect. */
async function untilAgain(act: () => void, hasWorked: () => boolean): Promise<void> {
  for (let attempt = 1;; attempt++) {
    act();
    try {
      return await until(hasWorked, "it has an effect", 1_000);
    } catch (error) {
      if (attempt === 10) throw error;
    }
  }
}
