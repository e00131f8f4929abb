import assert from "node:assert/strict";
import { openUdpLibc, ReceiveRing, SocketWatch, UdpSocket } from "../../ffi/mod.ts";
import { eventually } from "../e2e/lab.ts";

/** A watched socket on loopback, one that sends to it, and what the watch has told. */
class Lab implements AsyncDisposable {
  readonly libc = openUdpLibc();
  readonly socket = new UdpSocket(this.libc, { hostname: "127.0.0.1", port: 0 });
  readonly sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly ring = new ReceiveRing(this.libc, new Uint8Array(16 * 65_536));
  told = 0;
  received = 0;
  #onTold = () => {};
  readonly watch = new SocketWatch((name: string, hasErrors) => {
    assert.deepEqual([name, hasErrors], ["a socket", false]);
    this.told++;
    do {
      this.ring.fill(this.socket.fd);
      while (this.ring.next()) this.received++;
      this.ring.release();
    } while (!this.ring.isExhausted);
    this.#onTold();
  });

  constructor() {
    this.watch.add(this.socket.fd, "a socket");
  }

  async send(): Promise<void> {
    await this.sender.send(Uint8Array.of(1), this.socket.address);
  }

  /** Resolves in the turn in which the watch has told of so many. */
  async until(count: number): Promise<void> {
    while (this.received < count) await new Promise<void>((resolve) => this.#onTold = resolve);
  }

  async [Symbol.asyncDispose]() {
    await this.watch.close();
    this.sender.close();
    this.socket.close();
    this.libc.close();
  }
}

function linuxTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os !== "linux", fn });
}

linuxTest("it tells of a message, and once of many", async () => {
  await using lab = new Lab();
  await lab.send();
  await lab.until(1);
  assert.equal(lab.told, 1);
  await lab.send();
  await lab.send();
  await lab.until(3);
  assert.ok(lab.told <= 3);
});

linuxTest("who looks finds what has come before it is told of", async () => {
  await using lab = new Lab();
  await lab.send();
  await eventually("a message", () => {
    lab.watch.look();
    return lab.received === 1;
  });
});

linuxTest("none of many messages is missed, whoever looks", async () => {
  await using lab = new Lab();
  for (let n = 1; n <= 400; n++) {
    await lab.send();
    if (n % 3 === 0) lab.watch.look();
    if (n % 7 > 0) await lab.until(n);
  }
  await lab.until(400);
});

linuxTest("a watch that is closed tells nothing more", async () => {
  await using lab = new Lab();
  const closing = lab.watch.close();
  const { told } = lab;
  await lab.send();
  lab.watch.look();
  await closing;
  assert.equal(lab.told, told);
});

/** So many sockets that one watch waits for, and which of them it has told of. */
class Many implements AsyncDisposable {
  readonly libc = openUdpLibc();
  readonly sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly sockets: UdpSocket[];
  readonly told = new Set<UdpSocket>();
  /** Of how many the watch has told in one turn, and the most. */
  run = 0;
  most = 0;
  defect: UdpSocket | undefined;
  readonly watch: SocketWatch<UdpSocket>;

  constructor(count: number, lastNumber?: number) {
    this.watch = new SocketWatch((socket) => {
      if (socket === this.defect) throw new Error("a defect");
      this.told.add(socket);
      this.most = Math.max(this.most, ++this.run);
      queueMicrotask(() => this.run = 0);
    }, lastNumber);
    this.sockets = Array.from(
      { length: count },
      () => new UdpSocket(this.libc, { hostname: "127.0.0.1", port: 0, receiveBuffer: 4096 }),
    );
  }

  /** @returns their numbers */
  add(): number[] {
    return this.sockets.map((socket) => this.watch.add(socket.fd, socket));
  }

  async sendEach(): Promise<void> {
    for (const { address } of this.sockets) await this.sender.send(Uint8Array.of(1), address);
  }

  async [Symbol.asyncDispose]() {
    await this.watch.close();
    this.sender.close();
    for (const socket of this.sockets) socket.close();
    this.libc.close();
  }
}

linuxTest(
  "many sockets that are ready at once are all told of, some hundred in a turn",
  async () => {
    await using many = new Many(400);
    await many.sendEach();
    many.add(); // all are ready at once
    await eventually("all of them", () => many.told.size === 400);
    assert.ok(many.most <= 256, `${many.most} in a turn`);
  },
);

linuxTest("numbers begin anew where those of epoll end", async () => {
  const last = 0xffff_ffff;
  await using many = new Many(4, last - 2);
  assert.deepEqual(many.add(), [last - 1, last, 1, 2]);
  await many.sendEach();
  await eventually("all of them", () => many.told.size === 4);
});

linuxTest("one that was removed is not told of", async () => {
  await using many = new Many(2);
  many.watch.remove(many.add()[0]!);
  await many.sendEach();
  await eventually("the other", () => many.told.has(many.sockets[1]!));
  assert.equal(many.told.has(many.sockets[0]!), false);
});

linuxTest("a defect at one socket is thrown, and the others are told of", async () => {
  await using many = new Many(3);
  await many.sendEach();
  many.defect = many.sockets[0];
  many.add();
  assert.throws(() => many.watch.look(), /defect/);
  assert.deepEqual([...many.told], many.sockets.slice(1));
});
