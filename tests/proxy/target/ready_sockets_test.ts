import assert from "node:assert/strict";
import { openUdpLibc, type ReceiveRing, UdpSocket } from "../../../ffi/mod.ts";
import { type ReadySocket, ReadySockets } from "../../../proxy/target/ready_sockets.ts";
import { eventually } from "../../e2e/lab.ts";

class Socket implements ReadySocket {
  readonly socket: UdpSocket;
  isReady = false;
  /** What is done with the next receive. */
  onReceived = () => {};
  readonly #number: number;

  constructor(readonly lab: Lab) {
    this.socket = new UdpSocket(lab.libc, { hostname: "127.0.0.1", port: 0 });
    this.#number = lab.sockets.add(this, this.socket);
  }

  get fd(): number {
    return this.socket.fd;
  }

  get isClosed(): boolean {
    return this.socket.isClosed;
  }

  takeReports(): boolean {
    return false;
  }

  received(): void {
    this.onReceived();
  }

  close(): void {
    this.socket.close();
    this.lab.sockets.remove(this.#number);
  }
}

/** Sockets, somebody who sends to them, and what was handed on: of whom, and the first byte. */
class Lab implements AsyncDisposable {
  readonly libc = openUdpLibc();
  readonly sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  hasRoom = true;
  readonly seen: [Socket, number][] = [];
  readonly open: Socket[] = [];
  /** What is done with each message. */
  onHand = (_: Socket) => {};
  readonly sockets = new ReadySockets<Socket>(
    { wake() {}, hasRoom: () => this.hasRoom },
    this.libc,
    4,
    (error) => {
      throw error;
    },
  );

  socket(): Socket {
    const socket = new Socket(this);
    this.open.push(socket);
    return socket;
  }

  async send({ socket }: Socket, ...numbers: number[]): Promise<void> {
    for (const n of numbers) await this.sender.send(Uint8Array.of(n), socket.address);
  }

  drain(): void {
    this.sockets.drain(64, (socket: Socket, ring: ReceiveRing) => {
      this.seen.push([socket, ring.memory[ring.offset]!]);
      this.onHand(socket);
    });
  }

  async seenAll(count: number): Promise<void> {
    await eventually(`${count} messages`, () => {
      this.drain();
      return this.seen.length >= count;
    }, { intervalMs: 1 });
  }

  async [Symbol.asyncDispose]() {
    await this.sockets.close();
    this.sender.close();
    for (const socket of this.open) if (!socket.isClosed) socket.close();
    this.libc.close();
  }
}

function linuxTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os !== "linux", fn });
}

linuxTest("what one receive does not take waits for the socket's next turn", async () => {
  await using lab = new Lab();
  const [one, other] = [lab.socket(), lab.socket()];
  await lab.send(one, 1, 2, 3, 4, 5, 6);
  await lab.send(other, 7);
  await lab.seenAll(7);
  const of = (socket: Socket) => lab.seen.filter(([who]) => who === socket).map(([, n]) => n);
  assert.deepEqual([of(one), of(other)], [[1, 2, 3, 4, 5, 6], [7]]);
});

linuxTest("without room nothing is received, and then all of it", async () => {
  await using lab = new Lab();
  const socket = lab.socket();
  lab.hasRoom = false;
  await lab.send(socket, 1, 2);
  await eventually("it is ready", () => socket.isReady);
  lab.drain();
  assert.equal(lab.sockets.hasReady, false);
  assert.deepEqual(lab.seen, []);
  lab.hasRoom = true;
  await lab.seenAll(2);
});

linuxTest("an exception while a message is handed on costs no later one", async () => {
  await using lab = new Lab();
  const socket = lab.socket();
  lab.onHand = () => {
    throw new Error("a defect");
  };
  await lab.send(socket, 1);
  await eventually("it is ready", () => socket.isReady);
  assert.throws(() => lab.drain(), /a defect/);
  lab.onHand = () => {};
  await lab.send(socket, 2);
  await lab.seenAll(2);
  socket.onReceived = () => {
    throw new Error("another");
  };
  await lab.send(socket, 3);
  await eventually("it is ready", () => socket.isReady);
  assert.throws(() => lab.drain(), /another/);
  socket.onReceived = () => {};
  await lab.send(socket, 4);
  await lab.seenAll(3);
  assert.deepEqual(lab.seen.map(([, n]) => n), [1, 2, 4]);
});

linuxTest(
  "one that is closed while it is handed a message gets no other, and others theirs",
  async () => {
    await using lab = new Lab();
    const [one, other] = [lab.socket(), lab.socket()];
    lab.onHand = (socket) => {
      if (socket === one) one.close();
    };
    await lab.send(one, 1, 2);
    await lab.send(other, 3);
    await eventually("both are ready", () => one.isReady && other.isReady);
    lab.drain();
    assert.deepEqual(lab.seen, [[one, 1], [other, 3]]);
    await lab.send(other, 4);
    await lab.seenAll(3);
  },
);

linuxTest("one that cannot be watched is closed, and the error says why", async () => {
  await using lab = new Lab();
  const socket = lab.socket(); // it is watched already
  let isClosed = false;
  assert.throws(() => lab.sockets.add(socket, { close: () => isClosed = true }), /EEXIST|errno 17/);
  assert.equal(isClosed, true);
});
