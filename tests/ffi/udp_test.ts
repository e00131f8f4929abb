import { alone } from "../alone.ts";
import assert from "node:assert/strict";
import {
  DescriptorWait,
  type Destination,
  Errno,
  openUdpLibc,
  ReceiveRing,
  SendBatch,
  type UdpLibc,
  UdpSocket,
  udpUnavailable,
} from "../../ffi/mod.ts";
import { eventually, type Host, Lab, labTest } from "../e2e/lab.ts";
import { pattern } from "../proxy/pair.ts";

function linuxTest(name: string, fn: (t: Deno.TestContext) => void | Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os !== "linux", fn });
}

/** A socket with what it needs to send and receive by itself. */
class Side implements Disposable {
  readonly libc: UdpLibc = openUdpLibc();
  readonly socket: UdpSocket;
  readonly ring = new ReceiveRing(this.libc, new Uint8Array(8 * 65_536));
  readonly memory = new Uint8Array(1 << 20);
  readonly batch = new SendBatch(this.libc, this.memory, 512);
  /** Errnos of what has settled, in order. */
  readonly settled: number[] = [];
  #used = 0;

  constructor(hostname: string, options: { sendBuffer?: number } = {}) {
    this.socket = new UdpSocket(this.libc, { hostname, port: 0, ...options });
  }

  to(hostname: string, port = this.socket.address.port): Destination {
    return { sockaddr: sockaddr(hostname, port), segmentLimit: Infinity };
  }

  push(to: Destination, bytes: Uint8Array): void {
    // Apart from one another and from the end: pieces need not be neighbours.
    if (this.#used + bytes.length > this.memory.length) this.#used = 0;
    this.memory.set(bytes, this.#used);
    this.batch.push(to, this.#used, bytes.length);
    this.#used += bytes.length + 61;
  }

  flush(): boolean {
    return this.batch.flush(
      this.socket.fd,
      (_offset, _length, errno) => this.settled.push(errno),
    );
  }

  /** Everything that has arrived. @returns the datagrams, and in how many messages they came. */
  async receive(count: number): Promise<{ datagrams: Uint8Array[]; messages: number }> {
    const datagrams: Uint8Array[] = [];
    let messages = 0;
    await eventually(`${count} datagrams`, () => {
      messages += this.ring.fill(this.socket.fd);
      const { ring } = this;
      while (ring.next()) {
        datagrams.push(ring.memory.slice(ring.offset, ring.offset + ring.length));
      }
      return datagrams.length >= count;
    });
    return { datagrams, messages };
  }

  [Symbol.dispose](): void {
    this.socket.close();
    this.libc.close();
  }
}

/** Two hosts on one wire: 192.0.2.1 and 192.0.2.2. */
async function twoHosts(lab: Lab): Promise<[near: Host, far: Host]> {
  const [near, far] = [await lab.host("near"), await lab.host("far")];
  await lab.connect(
    { host: near, device: "wan", addresses: ["192.0.2.1/24"] },
    { host: far, device: "wan", addresses: ["192.0.2.2/24"] },
  );
  return [near, far];
}

/** Of an IPv4 socket. */
function sockaddr4(hostname: string, port: number): Uint8Array {
  return Uint8Array.of(
    ...[2, 0, port >> 8, port, ...hostname.split(".").map(Number)],
    ...new Array<number>(8).fill(0),
  );
}

/** Of an IPv6 socket. */
function sockaddr(hostname: string, port: number): Uint8Array {
  const bytes = new Uint8Array(28);
  bytes.set([10, 0, port >> 8, port]);
  if (hostname === "::1") bytes[23] = 1;
  else bytes.set([0xff, 0xff, ...hostname.split(".").map(Number)], 18);
  return bytes;
}

linuxTest(
  "datagrams of one size leave as one message, arrive as one, and are what they were",
  async () => {
    using sender = new Side("::");
    using receiver = new Side("::");
    assert.ok(sender.socket.hasGso && receiver.socket.hasGro, "this kernel has both");
    receiver.socket.coalesce();
    const to = sender.to("127.0.0.1", receiver.socket.address.port);
    // Two full messages (45 × 1,452 is the most that fit), and a third whose last is shorter.
    const sent = Array.from({ length: 100 }, (_, i) => pattern(i === 99 ? 7 : 1452, i + 1));
    for (const bytes of sent) sender.push(to, bytes);
    assert.equal(sender.flush(), true);
    assert.deepEqual(sender.settled, Array(100).fill(0));
    const { datagrams, messages } = await receiver.receive(100);
    assert.deepEqual(datagrams, sent);
    assert.equal(messages, 3);
  },
);

linuxTest("one flush holds any sizes and addresses, IPv4 and IPv6, each in its order", async () => {
  using sender = new Side("::");
  using four = new Side("::");
  using six = new Side("::");
  six.socket.coalesce();
  const destinations = [
    sender.to("127.0.0.1", four.socket.address.port),
    sender.to("::1", six.socket.address.port),
  ];
  const sizes = [100, 100, 50, 0, 0, 1, 1452, 1452, 1453, 3, 65_507, 65_507, 9, 9];
  const sent: Uint8Array[][] = [[], []];
  sizes.concat(sizes).forEach((size, i) => {
    const which = i % 5 < 3 ? 0 : 1; // runs of both, cut by the other
    sent[which]!.push(pattern(size, i + 1));
    sender.push(destinations[which]!, pattern(size, i + 1));
  });
  assert.equal(sender.flush(), true);
  assert.deepEqual(sender.settled, Array(sizes.length * 2).fill(0));
  assert.deepEqual((await four.receive(sent[0]!.length)).datagrams, sent[0]);
  assert.deepEqual((await six.receive(sent[1]!.length)).datagrams, sent[1]);
});

linuxTest("what nobody listens for, or nothing carries, does not disturb the others", async () => {
  using sender = new Side("::");
  using receiver = new Side("::");
  const closed = new Side("::");
  const nobody = sender.to("127.0.0.1", closed.socket.address.port);
  closed[Symbol.dispose]();
  const somebody = sender.to("127.0.0.1", receiver.socket.address.port);
  const tooLarge = new Uint8Array(65_508);
  for (let round = 0; round < 3; round++) {
    sender.push(nobody, pattern(100));
    sender.push(somebody, pattern(200, round + 1));
    sender.push(somebody, tooLarge);
    sender.push(sender.to("127.0.0.1", 0), pattern(10)); // no port
    sender.push(somebody, pattern(300, round + 1));
    assert.equal(sender.flush(), true);
  }
  const { EMSGSIZE, EINVAL } = Errno;
  const expected = [0, 0, EMSGSIZE, EINVAL, 0];
  assert.deepEqual(sender.settled, [...expected, ...expected, ...expected]);
  const { datagrams } = await receiver.receive(6);
  assert.deepEqual(datagrams.map(({ length }) => length), [200, 300, 200, 300, 200, 300]);
  assert.equal(sender.batch.segments, true);
  // The sender's own receiving goes on.
  receiver.push(receiver.to("127.0.0.1", sender.socket.address.port), pattern(5));
  receiver.flush();
  assert.deepEqual((await sender.receive(1)).datagrams, [pattern(5)]);
});

linuxTest(
  "a ring that is full leaves the rest with the kernel, and goes on where it was",
  async () => {
    using sender = new Side("::");
    using receiver = new Side("::");
    const to = sender.to("::1", receiver.socket.address.port);
    const sent = Array.from({ length: 30 }, (_, i) => pattern(50 + i, i + 1));
    for (const bytes of sent) sender.push(to, bytes);
    sender.flush();
    const { ring, socket } = receiver;
    assert.equal(ring.fill(socket.fd), 8);
    assert.equal(ring.isExhausted, false);
    assert.equal(ring.fill(socket.fd), 0);
    assert.equal(ring.isExhausted, false);
    const take = () => {
      assert.equal(ring.next(), true);
      return ring.memory.slice(ring.offset, ring.offset + ring.length);
    };
    const received: Uint8Array[] = [take(), take(), take()]; // the third is not given back yet
    assert.equal(ring.fill(socket.fd), 2);
    assert.equal(ring.isExhausted, false);
    received.push(...(await receiver.receive(27)).datagrams);
    assert.deepEqual(received, sent);
    assert.equal(ring.fill(socket.fd), 0);
    assert.deepEqual([ring.isExhausted, ring.isEmpty, ring.error], [true, true, 0]);
  },
);

/** Sends `count` datagrams. @returns them. */
function sendTo(receiver: Side, sender: Side, count: number): Uint8Array[] {
  const sent = Array.from({ length: count }, (_, i) => pattern(1000, i + 1));
  const to = sender.to("127.0.0.1", receiver.socket.address.port);
  for (const bytes of sent) sender.push(to, bytes);
  sender.flush();
  return sent;
}

linuxTest("an error that was left at the socket is not the next datagram's", () => {
  const libc = openUdpLibc();
  let failures = 0;
  let calls = 0;
  const failing = {
    symbols: {
      ...libc.symbols,
      sendmmsg: (...args: Parameters<typeof libc.symbols.sendmmsg>) => {
        calls++;
        return failures-- > 0 ? -1 : libc.symbols.sendmmsg(...args);
      },
    },
    errno: () => errno,
  } as unknown as UdpLibc;
  using receiver = new Side("::");
  const memory = new Uint8Array(256);
  const batch = new SendBatch(failing, memory, 4);
  const to = receiver.to("127.0.0.1");
  let errno: number = Errno.EHOSTUNREACH;
  const send = (before: number) => {
    failures = before;
    calls = 0;
    const settled: number[] = [];
    batch.push(to, 0, 10);
    batch.flush(receiver.socket.fd, (_offset, _length, errno) => settled.push(errno), () => false);
    return [settled, calls];
  };
  assert.deepEqual(send(1), [[0], 2], "the kernel has told of another, and forgotten it");
  assert.deepEqual(send(2), [[Errno.EHOSTUNREACH], 2], "it is told of this one");
  errno = Errno.ENOBUFS;
  assert.deepEqual(send(1), [[Errno.ENOBUFS], 1], "that is of no other");
  libc.close();
});

linuxTest("what Deno has no more is woken for nothing of it, and ends with it", async () => {
  using sender = new Side("::");
  using receiver = new Side("::");
  const { port } = receiver.socket.address;
  const sent = sendTo(receiver, sender, 5);
  assert.deepEqual((await receiver.receive(5)).datagrams, sent);
  const { socket } = receiver;
  assert.throws(
    () => Deno.listenDatagram({ transport: "udp", hostname: "::", port }),
    Deno.errors.AddrInUse,
  );
  socket.close();
  // A program that another test is just starting has our descriptors until it runs.
  await eventually("the port is free", () => {
    try {
      Deno.listenDatagram({ transport: "udp", hostname: "::", port }).close();
      return true;
    } catch (error) {
      assert.ok(error instanceof Deno.errors.AddrInUse, String(error));
      return false;
    }
  });
});

/** Of a socket that tells: the address of this host that the ring's datagram was sent to. */
function localOf({ ring, socket }: Side): Uint32Array {
  const at = ring.sender + 8;
  const words = socket.address.hostname.includes(":") ? 4 : 1;
  return Uint32Array.from(ring.senders.subarray(at, at + words));
}

const hostname = (words: Uint32Array) => [...new Uint8Array(words.buffer)].slice(-4).join(".");

for (const bound of ["::", "0.0.0.0"]) {
  linuxTest(
    `a socket on ${bound} tells where it was asked, and its answers leave from there, cut or not`,
    async () => {
      using asked = new Side(bound);
      asked.socket.tellLocal();
      asked.socket.coalesce();
      using asker = new Side("127.0.0.1");
      const { port } = asker.socket.address;
      const isIpv6 = bound === "::";
      const back = isIpv6 ? sockaddr("127.0.0.1", port) : sockaddr4("127.0.0.1", port);
      const answers = new Map<string, Destination>();
      for (const local of ["127.0.0.1", "127.0.0.2", "127.1.2.3"]) {
        const to = {
          sockaddr: sockaddr4(local, asked.socket.address.port),
          segmentLimit: Infinity,
        };
        for (let i = 0; i < 3; i++) asker.push(to, pattern(100, i + 1)); // one message each way
        asker.flush();
        await eventually("asked", () => asked.ring.fill(asked.socket.fd) > 0);
        while (asked.ring.next()) {
          const source = localOf(asked);
          assert.equal(hostname(source), local);
          answers.set(local, { sockaddr: back, segmentLimit: Infinity, source });
        }
      }
      // All in one call; the last without a source, from which the kernel chooses.
      const froms = ["127.0.0.1", "127.0.0.2", "127.1.2.3"];
      for (const local of [...froms, ...froms]) {
        const to = answers.get(local)!;
        for (const size of [200, 200, 300]) asked.push(to, pattern(size));
      }
      asked.push({ sockaddr: back, segmentLimit: Infinity }, pattern(9));
      asked.flush();
      assert.deepEqual(asked.settled, Array(19).fill(0));
      const heard: string[] = [];
      await eventually("answered", () => {
        asker.ring.fill(asker.socket.fd);
        while (asker.ring.next()) {
          const bytes = new Uint8Array(asker.ring.senders.buffer, asker.ring.sender * 4, 8);
          heard.push(`${bytes.subarray(4).join(".")} ${asker.ring.length}`);
        }
        return heard.length >= 19;
      });
      const expected = froms.flatMap((local) => [`${local} 200`, `${local} 200`, `${local} 300`]);
      assert.deepEqual(heard, [...expected, ...expected, "127.0.0.1 9"]);
    },
  );
}

linuxTest("a source that the host has not is given up, and nothing is lost", async () => {
  using sender = new Side("::");
  using receiver = new Side("::");
  const gone = sender.to("127.0.0.1", receiver.socket.address.port);
  gone.source = Uint32Array.from(new Uint32Array(sockaddr("192.0.2.7", 0).buffer.slice(8, 24)));
  for (let i = 0; i < 3; i++) sender.push(gone, pattern(100, i + 1));
  assert.equal(sender.flush(), true);
  assert.deepEqual(sender.settled, [0, 0, 0]);
  assert.deepEqual([gone.source, gone.segmentLimit], [undefined, Infinity]);
  const { datagrams } = await receiver.receive(3);
  assert.deepEqual(datagrams, [pattern(100, 1), pattern(100, 2), pattern(100, 3)]);
});

/** A kernel that does what the test says with each call: messages taken, or an errno below zero. */
function fakeKernel(answer: (segments: number[], count: number) => number) {
  const sent: number[][] = [];
  let errno = 0;
  const libc = {
    symbols: {
      sendmmsg(_fd: number, structs: Uint8Array, count: number) {
        const view = new DataView(structs.buffer);
        const segments = Array.from({ length: count }, (_, i) => view.getUint32(i * 64 + 24, true));
        const result = answer(segments, count);
        if (result < 0) errno = -result;
        else sent.push(segments.slice(0, result));
        return Math.max(-1, result);
      },
    },
    errno: () => errno,
    close() {},
  } as unknown as UdpLibc;
  const memory = new Uint8Array(10_000);
  const batch = new SendBatch(libc, memory, 16);
  const settled: [offset: number, errno: number][] = [];
  const flush = () => batch.flush(0, (offset, _length, errno) => settled.push([offset, errno]));
  return { batch, sent, settled, flush };
}

const SOMEWHERE = (): Destination => ({
  sockaddr: sockaddr("127.0.0.1", 9),
  segmentLimit: Infinity,
});

linuxTest("a kernel that cannot cut is never asked again, and nothing is lost", () => {
  const kernel = fakeKernel(([first]) => first! > 1 ? -Errno.EIO : 1);
  const to = SOMEWHERE();
  for (let i = 0; i < 4; i++) kernel.batch.push(to, i * 100, 100);
  assert.equal(kernel.flush(), true);
  assert.deepEqual(kernel.settled, [[0, 0], [100, 0], [200, 0], [300, 0]]);
  assert.equal(kernel.batch.segments, false);
  kernel.batch.push(to, 400, 100);
  kernel.batch.push(to, 500, 100);
  kernel.flush();
  assert.deepEqual(kernel.sent, [[1], [1], [1], [1], [1], [1]]);
});

linuxTest(
  "a size that cannot be cut is sent one by one there, other sizes and places are not",
  () => {
    const kernel = fakeKernel(([first], count) => first! > 1 ? -Errno.EINVAL : count);
    const [narrow, wide] = [SOMEWHERE(), SOMEWHERE()];
    kernel.batch.push(narrow, 0, 100);
    kernel.batch.push(narrow, 100, 100);
    assert.equal(kernel.flush(), true);
    assert.deepEqual(kernel.settled, [[0, 0], [100, 0]]);
    assert.deepEqual([narrow.segmentLimit, wide.segmentLimit], [99, Infinity]);
    assert.equal(kernel.batch.segments, true);
  },
);

linuxTest("what is refused alone as well says nothing about cutting", () => {
  const kernel = fakeKernel(() => -Errno.EINVAL);
  const to = SOMEWHERE();
  kernel.batch.push(to, 0, 100);
  kernel.batch.push(to, 100, 100);
  assert.equal(kernel.flush(), true);
  assert.deepEqual(kernel.settled, [[0, Errno.EINVAL], [100, Errno.EINVAL]]);
  assert.deepEqual([to.segmentLimit, kernel.batch.segments], [Infinity, true]);
});

linuxTest("errors concern the datagrams they are of; a full buffer keeps the rest in order", () => {
  const answers = [1, -Errno.EPERM, -Errno.EINTR, 1, -Errno.EAGAIN, 2];
  const kernel = fakeKernel(() => answers.shift()!);
  for (let i = 0; i < 5; i++) kernel.batch.push(SOMEWHERE(), i * 100, 100);
  assert.equal(kernel.flush(), false);
  assert.deepEqual(kernel.settled, [[0, 0], [100, Errno.EPERM], [200, 0]]);
  assert.equal(kernel.batch.size, 2);
  // More than the arrays' end: what waits moves to their start.
  for (let i = 5; i < 19; i++) kernel.batch.push(SOMEWHERE(), i * 100, 100);
  assert.throws(() => kernel.batch.push(SOMEWHERE(), 0, 1), RangeError);
  answers.push(14);
  assert.equal(kernel.flush(), true);
  assert.deepEqual(
    kernel.settled.map(([offset]) => offset),
    Array.from({ length: 19 }, (_, i) => i * 100),
  );
  assert.deepEqual(answers, []);
});

labTest("segments that the path does not take arrive all the same, in fragments", async () => {
  await using lab = await Lab.create();
  const [near, far] = await twoHosts(lab);
  await near.ip("link set wan mtu 1280");
  using sender = inNamespace(near.namespace, () => new Side("::"));
  using receiver = inNamespace(far.namespace, () => new Side("::"));
  const to = sender.to("192.0.2.2", receiver.socket.address.port);
  for (const round of [1, 2]) {
    const sent = Array.from({ length: 5 }, (_, i) => pattern(1452, round * 10 + i));
    for (const bytes of sent) sender.push(to, bytes);
    assert.equal(sender.flush(), true);
    assert.deepEqual((await receiver.receive(5)).datagrams, sent);
  }
  assert.deepEqual(sender.settled, Array(10).fill(0));
});

labTest(
  "what a full send buffer does not take waits and is sent, nothing lost, in order",
  async () => {
    await using lab = await Lab.create();
    const [near, far] = await twoHosts(lab);
    // Whoever is looked for keeps what is sent to it in the socket's buffer meanwhile.
    const address = JSON.parse(await far.output(["ip", "-j", "link", "show", "wan"]))[0].address;
    await far.ip("link set wan arp off");
    await near.ip("neigh flush all");
    using sender = inNamespace(near.namespace, () => new Side("::", { sendBuffer: 1 }));
    using receiver = inNamespace(far.namespace, () => new Side("::"));
    const to = sender.to("192.0.2.2", receiver.socket.address.port);
    const sent = Array.from({ length: 50 }, (_, i) => pattern(1000 + i, i + 1));
    for (const bytes of sent) sender.push(to, bytes);
    assert.equal(sender.flush(), false);
    const accepted = sender.settled.length;
    assert.ok(accepted > 0 && accepted < 50, `${accepted} accepted`);
    assert.equal(sender.batch.size, 50 - accepted);
    assert.equal(sender.flush(), false, "still full");
    await near.ip(`neigh replace 192.0.2.2 lladdr ${address} nud permanent dev wan`);
    const { datagrams } = await receiver.receive(accepted);
    await eventually("all are sent", () => sender.flush());
    datagrams.push(...(await receiver.receive(50 - datagrams.length)).datagrams);
    assert.deepEqual(sender.settled, Array(50).fill(0));
    assert.deepEqual(datagrams, sent);
  },
);

labTest("a socket's mark decides the route", async () => {
  await using lab = await Lab.create();
  const [near] = await twoHosts(lab);
  await near.ip("rule add fwmark 51820 prohibit");
  using sender = inNamespace(near.namespace, () => new Side("::"));
  const to = sender.to("192.0.2.2", 9);
  for (const mark of [0, 51820, 1]) {
    sender.socket.setMark(mark);
    sender.push(to, pattern(10));
    sender.flush();
  }
  assert.deepEqual(sender.settled, [0, Errno.EACCES, 0]);
});

linuxTest("the kernel's buffers are larger than Deno leaves them, or as small as asked for", () => {
  using usual = new Side("::");
  using small = new Side("::", { sendBuffer: 1 });
  const limit = Number(Deno.readTextFileSync("/proc/sys/net/core/rmem_max"));
  assert.ok(usual.socket.receiveBuffer >= 2 * Math.min(limit, 4 << 20));
  assert.ok(small.socket.sendBuffer < usual.socket.sendBuffer);
});

linuxTest(
  "a hundred sockets leave no file descriptor, and each finds its own",
  (t) =>
    alone(t, async () => {
      const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
      const before = descriptors();
      const sides = Array.from({ length: 100 }, () => new Side("127.0.0.1"));
      assert.equal(new Set(sides.map(({ socket }) => socket.fd)).size, 100);
      const waits = sides.map(({ socket }) => new DescriptorWait(socket.fd));
      await Promise.all(waits.map((wait) => wait.tried));
      assert.equal(waits.filter((wait) => wait.isOnThread).length, 0);
      // Half of them wait when they are closed.
      const waited = waits.slice(50).map((wait) =>
        new Promise<void>((resolve) => wait.wait(resolve))
      );
      await Promise.all(waits.map((wait) => wait.close()));
      await Promise.all(waited);
      for (const side of sides) side[Symbol.dispose]();
      const taken = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
      const libc = openUdpLibc();
      const { port } = taken.addr as Deno.NetAddr;
      for (let i = 0; i < 10; i++) {
        assert.throws(
          () => new UdpSocket(libc, { hostname: "127.0.0.1", port }),
          Deno.errors.AddrInUse,
        );
      }
      libc.close();
      taken.close();
      await eventually("all descriptors closed", () => descriptors() <= before);
    }),
);

linuxTest(
  "one address family's socket is not taken for that of the other with the same port",
  () => {
    using six = new Side("::1");
    const { port } = six.socket.address;
    const libc = openUdpLibc();
    const four = new UdpSocket(libc, { hostname: "127.0.0.1", port });
    assert.notEqual(four.fd, six.socket.fd);
    four.close();
    libc.close();
  },
);

linuxTest("all who open the C library call the same functions, until the last closes it", () => {
  const [one, other] = [openUdpLibc(), openUdpLibc()];
  assert.equal(one.symbols.sendmmsg, other.symbols.sendmmsg);
  assert.equal(one.errno, other.errno);
  one.close();
  one.close(); // counts once
  const fd = other.symbols.dup(0);
  assert.ok(fd >= 0 && other.symbols.close(fd) === 0, "still open");
  other.close();
  const again = openUdpLibc();
  assert.equal(again.symbols.close(-1), -1);
  assert.equal(again.errno(), Errno.EBADF);
  again.close();
});

Deno.test("whether there are batches is told with the reason", () => {
  if (Deno.build.os === "linux") assert.equal(udpUnavailable(), undefined);
  else assert.match(udpUnavailable()!, /^needs Linux/);
});

/** Runs `make` in a network namespace: what it opens belongs there from then on. */
function inNamespace<T>(namespace: string, make: () => T): T {
  const CLONE_NEWNET = 0x40000000;
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
  });
  const { symbols } = libc;
  const open = (path: string) => symbols.open(new TextEncoder().encode(`${path}\0`), 0);
  const [home, away] = [open("/proc/thread-self/ns/net"), open(`/run/netns/${namespace}`)];
  try {
    assert.equal(symbols.setns(away, CLONE_NEWNET), 0);
    return make();
  } finally {
    assert.equal(symbols.setns(home, CLONE_NEWNET), 0);
    symbols.close(home);
    symbols.close(away);
    libc.close();
  }
}
