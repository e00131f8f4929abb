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

  /** A message after another, each sent when the one before was told of, until the watch looks. */
  async makeBusy(): Promise<void> {
    while (!this.watch.isBusy) {
      const expected = this.received + 1;
      await this.send();
      await this.until(expected);
    }
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

linuxTest("a quiet watch waits, and tells of a message", async () => {
  await using lab = new Lab();
  await lab.send();
  await lab.until(1);
  assert.deepEqual([lab.told, lab.watch.isBusy], [1, false]);
});

linuxTest(
  "a busy watch finds at once what has come, and waits again when nothing does",
  async () => {
    await using lab = new Lab();
    let before = 0;
    let found = false;
    for (let tries = 0; tries < 100 && !found; tries++) { // the timer may have looked first
      await lab.makeBusy();
      await lab.send();
      before = lab.received;
      lab.watch.look();
      found = lab.received > before;
    }
    assert.ok(found);
    before = lab.received;
    await eventually("a watch that waits", () => !lab.watch.isBusy);
    await lab.send();
    await lab.until(before + 1);
  },
);

linuxTest(
  "none of many messages is missed on the ways from waiting to looking and back",
  async () => {
    await using lab = new Lab();
    let modes = 0;
    let wasBusy = false;
    for (let n = 1; n <= 400; n++) {
      await lab.send();
      if (n % 3 === 0) lab.watch.expect();
      lab.watch.isAwaited = n % 5 > 0;
      if (n % 40 === 0) await eventually("a watch that waits", () => !lab.watch.isBusy);
      else if (n % 7 > 0) await lab.until(n);
      if (wasBusy !== lab.watch.isBusy) modes++;
      wasBusy = lab.watch.isBusy;
    }
    await lab.until(400);
    assert.ok(modes >= 10, `${modes} changes`);
  },
);

linuxTest("a watch closes while it waits, while it looks, and tells nothing more", async () => {
  for (const isBusy of [false, true]) {
    await using lab = new Lab();
    if (isBusy) await lab.makeBusy();
    const closing = lab.watch.close();
    const { told } = lab;
    await lab.send();
    lab.watch.look();
    await closing;
    assert.equal(lab.told, told);
  }
});
