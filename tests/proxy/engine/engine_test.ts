import assert from "node:assert/strict";
import { openArena } from "../../../proxy/arena/arena.ts";
import type { Bind } from "../../../proxy/bind/bind.ts";
import { Engine } from "../../../proxy/engine/engine.ts";
import type { PacketLink } from "../../../proxy/link/packet_link.ts";
import { generatePrivateKey } from "../../../wireguard/mod.ts";
import { preset } from "../../preset.ts";

const MTU = 1420;
const key = (value: number) => new Uint8Array(32).fill(value);
const NOTHING = new Uint8Array(0);

/** An engine whose event loop is the test, with a bind that has datagrams for so many drains. */
function driven() {
  const state = {
    drains: 0,
    left: 0,
    isBusy: false,
    now: 0,
    onDrain: () => {},
    onSent: () => {},
    onReadable: (_isAlone?: boolean) => {},
    soon: [] as (() => void)[],
    later: () => {},
  };
  const bind: Bind = {
    name: "test",
    counters: {},
    get hasReady() {
      return state.left > 0;
    },
    get isBusy() {
      return state.isBusy;
    },
    start({ onSent, onReadable }) {
      state.onSent = onSent;
      state.onReadable = onReadable;
    },
    drain() {
      if (state.left === 0) return 0;
      state.left--;
      state.drains++;
      state.onDrain();
      return 1;
    },
    send: () => false,
    flush() {},
    sent: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const random = (out: Uint8Array) => void crypto.getRandomValues(out);
  const engine = new Engine({
    clock: { now: () => state.now, wallClock: () => 0 },
    scheduler: {
      soon: (run) => void state.soon.push(run),
      later: (run) => void (state.later = run),
      cancel() {},
    },
    random,
    arena: openArena(MTU, preset.crypto),
    binds: [bind],
    privateKey: generatePrivateKey(random),
    mtu: MTU,
    addresses: [],
    onEvent() {},
    onFailed() {},
  });
  engine.addTimeouts({ pollTimeout: () => 1_000, handleTimeout() {} });
  return { engine, state };
}

Deno.test("a busy engine runs four turns at once, then the event loop; an idle one runs none in vain", async () => {
  const { engine, state } = driven();
  state.left = 10;
  engine.wake();
  const drains = [];
  for (let run; (run = state.soon.shift()) !== undefined;) {
    assert.equal(state.soon.length, 0, "asked for once");
    run();
    drains.push(state.drains);
  }
  assert.deepEqual(drains, [4, 8, 10]);
  assert.equal(engine.counters.turns, 10);
  await engine.close();
});

Deno.test("a wake with nothing else on the stack has its turn at once, unless turns follow one another", async () => {
  const { engine, state } = driven();
  const wake = () => {
    state.left = 1;
    state.onReadable(true);
    return [state.drains, state.soon.length];
  };
  state.now = 10;
  assert.deepEqual(wake(), [1, 0]);
  state.now = 10.5;
  assert.deepEqual(wake(), [1, 1], "soon, with what else comes");
  state.now = 20;
  assert.deepEqual(wake(), [1, 1], "asked for once");
  state.soon.shift()!();
  assert.equal(state.drains, 2);
  state.now = 25;
  state.onDrain = () => state.now += 5;
  assert.deepEqual(wake(), [3, 0]);
  state.onDrain = () => {};
  assert.deepEqual(wake(), [3, 1], "that turn was a long one, and has ended just now");
  state.soon.shift()!();
  state.drains = 2;
  state.now = 40;
  state.left = 10;
  state.onReadable(true);
  assert.deepEqual([state.drains, state.soon.length], [6, 1], "four turns, then the event loop");
  state.soon.shift()!();
  state.now = 50;
  state.left = 1;
  state.onReadable();
  assert.deepEqual([state.drains, state.soon.length], [10, 1], "not from within somebody's call");
  await engine.close();
});

Deno.test("what an engine asks the event loop for is made once, not for each wake", async () => {
  const { engine, state } = driven();
  const asked = new Set<() => void>();
  const timers = new Set<() => void>();
  for (let wakes = 0; wakes < 5; wakes++) {
    state.now += 10;
    engine.wake();
    const run = state.soon.shift()!;
    asked.add(run);
    run();
    timers.add(state.later);
  }
  assert.deepEqual([asked.size, timers.size], [1, 1]);
  await engine.close();
});

Deno.test("a timer that comes while a turn is asked for starts no second series of turns", async () => {
  const { engine, state } = driven();
  engine.wake();
  state.soon.shift()!(); // which arms the timer
  state.left = 20;
  engine.wake();
  state.later();
  assert.equal(state.drains, 1);
  assert.equal(state.soon.length, 1);
  state.soon.shift()!();
  assert.equal(state.drains, 5);
  assert.equal(state.soon.length, 1);
  await engine.close();
});

Deno.test("what has deadlines is asked once a turn, and called in the turn after it became due", async () => {
  const { engine, state } = driven();
  const calls: string[] = [];
  let due = Infinity;
  engine.addTimeouts({
    pollTimeout() {
      calls.push("asked");
      return due;
    },
    handleTimeout(now) {
      calls.push(`called at ${now}`);
      due = Infinity;
    },
  });
  const turns = () => {
    calls.length = 0;
    engine.wake();
    for (let run; (run = state.soon.shift()) !== undefined;) run();
    return calls.join(", ");
  };
  assert.equal(turns(), "asked");
  due = 20; // by somebody who asks for a turn
  state.now = 10;
  assert.equal(turns(), "asked");
  state.now = 20;
  assert.equal(turns(), "asked, called at 20, asked");
  state.now = 30;
  due = 25; // it is late already
  assert.equal(turns(), "asked, asked, called at 30, asked");
  due = 40;
  assert.equal(turns(), "asked");
  state.now = 40;
  calls.length = 0;
  state.later();
  assert.equal(calls.join(", "), "asked, called at 40, asked", "by the timer");
  await engine.close();
});

Deno.test("something that stays due waits for the timer, and does not keep the engine busy", async () => {
  const { engine, state } = driven();
  engine.addTimeouts({ pollTimeout: () => 5, handleTimeout() {} });
  state.now = 10;
  engine.wake();
  state.soon.shift()!();
  assert.equal(engine.counters.turns, 2, "one that finds it due, one in which it is called");
  assert.equal(state.soon.length, 0);
  state.later();
  assert.equal(engine.counters.turns, 3);
  assert.equal(state.soon.length, 0);
  await engine.close();
});

Deno.test("while a bind is busy no link is read; when it says that it is not, it is read on", async () => {
  const { engine, state } = driven();
  let drained = 0;
  const link: PacketLink = {
    name: "test",
    counters: { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, drops: {} },
    buffer: NOTHING,
    hasReady: true,
    start() {},
    drain: () => void drained++,
    allocate: () => -1,
    release() {},
    transmit() {},
    forward: () => false,
    flush() {},
    close: () => Promise.resolve(),
  };
  state.isBusy = true;
  engine.addLink(link, { name: "test", mtu: MTU, forwarding: false });
  state.soon.shift()!();
  assert.equal(drained, 0);
  assert.equal(state.soon.length, 0); // and nothing turns in vain
  state.isBusy = false;
  state.onSent();
  state.soon.shift()!();
  assert.equal(drained, 4); // turns
  state.isBusy = true;
  for (const value of [1, 2]) engine.device.addPeer({ publicKey: key(value) }, 0);
  state.soon.shift()!();
  assert.equal(drained, 8, "others than the one that it is busy with would wait too");
  state.soon.length = 0;
  await engine.close();
});
