import assert from "node:assert/strict";
import type { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { ByteStream, DialHandler, StreamHandler } from "../../../proxy/flow/stream.ts";
import { Names } from "../../../proxy/target/names.ts";
import { HostDialer } from "../../../proxy/target/tcp.ts";
import { WarmPool } from "../../../proxy/target/warm.ts";
import { captureLog } from "../log/capture.ts";
import { until } from "../until.ts";
import { settle, TestClock } from "./clock.ts";

const ip = (text: string) => parseIpAddress(text)!;

class Stream {
  handler: StreamHandler | undefined;
  isReset = false;
  resume(): void {}
  reset(): void {
    this.isReset = true;
  }
}

class Lab {
  readonly clock = new TestClock();
  readonly dials: { to: string; handler: DialHandler; isAborted: boolean }[] = [];
  readonly zone = new Map<string, string>();
  hasRoom = true;
  readonly pool: WarmPool;

  constructor() {
    const names = new Names({
      ...this.clock,
      source: {
        questions: ["any"],
        staleMs: 1e9,
        ask: (name) => {
          const text = this.zone.get(name);
          if (text === undefined) return Promise.reject(new Error("nobody answers"));
          return Promise.resolve({ addresses: text.split(" ").map(ip), ttlMs: 10_000 });
        },
      },
    });
    this.pool = new WarmPool({
      ...this.clock,
      names,
      dialer: {
        dial: (to, port, handler) => {
          const dial = { to: `${to} ${port}`, handler, isAborted: false };
          this.dials.push(dial);
          return { abort: () => void (dial.isAborted = true) };
        },
      },
      isAllowed: (_to: IpAddress | string, address) => !address.isLoopback,
      hasRoom: () => this.hasRoom,
    });
  }

  set(to: string, count: number): void {
    this.pool.set(count === 0 ? [] : [{ to: parseIpAddress(to) ?? to, port: 443, count }]);
  }

  take(to: string) {
    return this.pool.take(parseIpAddress(to) ?? to, 443);
  }

  /** The dials that are new connect. */
  connect(): Stream[] {
    return this.dials.splice(0).map(({ handler }) => {
      const stream = new Stream();
      handler.connected(stream as unknown as ByteStream);
      return stream;
    });
  }
}

Deno.test("as many are ready as are asked for, each for one flow, and made again in the background", async () => {
  const lab = new Lab();
  lab.set("192.0.2.1", 3);
  assert.deepEqual(lab.dials.map(({ to }) => to), Array(3).fill("192.0.2.1 443"));
  const streams = lab.connect();
  assert.equal(lab.pool.size, 3);
  assert.equal(lab.take("192.0.2.2"), undefined);
  const taken = [lab.take("192.0.2.1")!, lab.take("192.0.2.1")!];
  assert.deepEqual(taken.map(({ stream }) => stream), streams.slice(0, 2) as unknown[]);
  assert.equal(lab.dials.length, 0, "not within the flow's own dial");
  await lab.clock.advance(0);
  assert.equal(lab.dials.length, 2);
  lab.connect();
  assert.equal(lab.pool.size, 3);
  await lab.clock.advance(600_000);
  assert.equal(lab.dials.length, 0, "never more than that");
  assert.deepEqual(lab.pool.counters, { opened: 5, used: 2, spoilt: 0 });
  for (const one of taken) assert.equal(one.give(), one.stream);
  lab.pool.close();
  assert.equal(streams[0]!.isReset, false, "a flow has it");
  assert.equal(streams[2]!.isReset, true);
  assert.equal(lab.clock.timers, 0);
});

Deno.test("one on which something has come is discarded: its end, a reset, data", async () => {
  using log = captureLog();
  for (const how of ["ended", "closed", "data"] as const) {
    const lab = new Lab();
    lab.set("192.0.2.1", 1);
    const [stream] = lab.connect();
    await lab.clock.advance(60_000);
    const { handler } = stream!;
    if (how === "data") handler!.data(null as never, new Uint8Array(1), 0, 1, false);
    else handler![how](null as never, undefined);
    assert.equal(stream!.isReset, true);
    assert.equal(lab.pool.counters.spoilt, 1);
    assert.equal(lab.take("192.0.2.1"), undefined);
    assert.equal(lab.dials.length, 1, "it had lasted: another at once");
  }
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0]!, /192\.0\.2\.1 port 443 speaks before its client does/);
});

Deno.test("one that a flow has taken may turn out to be spoilt: the flow can see it", () => {
  const lab = new Lab();
  lab.set("192.0.2.1", 1);
  const [stream] = lab.connect();
  const taken = lab.take("192.0.2.1")!;
  assert.equal(taken.isReady, true);
  stream!.handler!.ended(null as never);
  assert.equal(taken.isReady, false);
  assert.equal(stream!.isReset, true);
});

Deno.test("failures are tried again later and later, short lives too", async () => {
  const lab = new Lab();
  lab.set("192.0.2.1", 2);
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    const failed = lab.dials.splice(0);
    for (const { handler } of failed) handler.dialFailed("refused");
    let waited = 0;
    while (lab.dials.length === 0) {
      await lab.clock.advance(1_000);
      waited += 1;
    }
    waits.push(waited);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
  const [stream] = lab.connect();
  await lab.clock.advance(100);
  stream!.handler!.ended(null as never);
  assert.equal(lab.dials.length, 0);
  lab.pool.close();
  assert.equal(lab.clock.timers, 0);
});

for (const how of ["refuses", "hangs", "closes at once"] as const) {
  Deno.test(`a target that ${how} for an hour is tried a bounded number of times, with one line; it comes back`, async () => {
    using log = captureLog();
    const lab = new Lab();
    lab.set("192.0.2.1", 4);
    let attempts = 0;
    const fail = () => {
      attempts += lab.dials.length;
      if (how === "refuses") {
        lab.dials.splice(0).forEach(({ handler }) => handler.dialFailed("refused"));
      }
      if (how === "hangs") lab.dials.splice(0); // each is aborted by its own limit
      if (how === "closes at once") {
        lab.connect().forEach((stream) => stream.handler?.ended(null as never));
      }
    };
    for (let second = 0; second < 3_600; second++) {
      fail();
      assert.ok(lab.pool.size <= 4);
      await lab.clock.advance(1_000);
    }
    // Four each minute, and those of the first one.
    assert.ok(attempts >= 150 && attempts <= 4 * 70, `${attempts}`);
    const lines = () => log.lines.filter((line) => line.includes("no connection stays ready"));
    assert.equal(lines().length, 1, lines().join(""));

    // Back: as many as were asked for, within a minute; and another outage is news.
    while (lab.dials.length === 0) await lab.clock.advance(1_000);
    const back = lab.connect();
    assert.equal(back.length, 4);
    await lab.clock.advance(6_000);
    assert.notEqual(lab.take("192.0.2.1"), undefined);
    await lab.clock.advance(0);
    assert.equal(lab.dials.length, 1, "made again at once");
    lab.connect();
    await lab.clock.advance(6_000);
    for (const stream of back) if (!stream.isReset) stream.handler?.ended(null as never);
    for (let second = 0; second < 120; second++) {
      fail();
      await lab.clock.advance(1_000);
    }
    assert.equal(lines().length, 2);
    lab.pool.close();
    assert.equal(lab.clock.timers, 0);
  });
}

Deno.test("a dial that nobody answers is given up", async () => {
  const lab = new Lab();
  lab.set("192.0.2.1", 1);
  await lab.clock.advance(10_000);
  assert.equal(lab.dials[0]!.isAborted, true);
  await lab.clock.advance(1_000);
  assert.equal(lab.dials.length, 2);
});

Deno.test("a name is dialled where it leads, and what leads elsewhere now is closed", async () => {
  const lab = new Lab();
  lab.zone.set("web.test", "192.0.2.1");
  lab.set("web.test", 2);
  await settle();
  assert.deepEqual(lab.dials.map(({ to }) => to), Array(2).fill("192.0.2.1 443"));
  const old = lab.connect();
  await lab.clock.advance(15_000);
  assert.equal(lab.pool.size, 2);
  lab.zone.set("web.test", "192.0.2.2 127.0.0.1");
  await lab.clock.advance(10_000);
  assert.deepEqual(old.map(({ isReset }) => isReset), [true, true]);
  assert.deepEqual(lab.dials.map(({ to }) => to), Array(2).fill("192.0.2.2 443"));
  lab.connect();
  assert.equal(`${lab.take("web.test")!.address}`, "192.0.2.2");
  // Nobody answers any more: those that are there stay.
  lab.zone.clear();
  await lab.clock.advance(0);
  lab.connect();
  await lab.clock.advance(30_000);
  assert.equal(lab.pool.size, 2);
  lab.pool.close();
  assert.equal(lab.clock.timers, 0);
});

Deno.test("of what is configured anew the rest is closed, and what stays stays open", () => {
  const lab = new Lab();
  const target = (to: string, count: number) => ({ to: ip(to), port: 443, count });
  lab.pool.set([target("192.0.2.1", 2), target("192.0.2.2", 1), target("192.0.2.1", 1)]);
  const [a, b, c] = lab.connect();
  lab.pool.set([target("192.0.2.1", 1)]);
  assert.deepEqual([a, b, c].map((stream) => stream!.isReset), [true, false, true]);
  assert.equal(lab.dials.length, 0);
});

Deno.test("without room, or descriptors, none is made until there are", async () => {
  const lab = new Lab();
  lab.hasRoom = false;
  lab.set("192.0.2.1", 2);
  assert.equal(lab.dials.length, 0);
  await lab.clock.advance(4_999);
  lab.hasRoom = true;
  await lab.clock.advance(1);
  assert.equal(lab.dials.length, 2);
  const streams = lab.connect();
  lab.pool.giveUp();
  assert.deepEqual(streams.map(({ isReset }) => isReset), [true, true]);
  await lab.clock.advance(59_999);
  assert.equal(lab.dials.length, 0);
  await lab.clock.advance(1);
  assert.equal(lab.dials.length, 2);
});

Deno.test("a target that may not be dialled has none", async () => {
  const lab = new Lab();
  lab.set("127.0.0.1", 2);
  await lab.clock.advance(300_000);
  assert.equal(lab.dials.length, 0);
});

Deno.test("a real target that closes what is idle is found out", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const { now } = performance;
  const clock = new TestClock();
  const pool = new WarmPool({
    dialer: new HostDialer(),
    names: undefined as never,
    now: now.bind(performance),
    after: clock.after,
    isAllowed: () => true,
    hasRoom: () => true,
  });
  pool.set([{ to: ip("127.0.0.1"), port, count: 1 }]);
  const conn = await listener.accept();
  await until(() => pool.counters.opened > 0, "a connection is ready");
  conn.close();
  await until(() => pool.counters.spoilt > 0, "its end is noticed");
  assert.equal(pool.take(ip("127.0.0.1"), port), undefined);
  pool.close();
  listener.close();
});
