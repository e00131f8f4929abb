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
  readonly watch = new SocketWatch((number, hasErrors) => {
    assert.deepEqual([number, hasErrors], [7, false]);
    this.told++;
    do {
      this.ring.fill(this.socket.fd);
      while (this.ring.next()) this.received++;
      this.ring.release();
    } while (!this.ring.isExhausted);
    this.#onTold();
  });

  constructor() {
    this.watch.add(this.socket.fd, 7, true);
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
