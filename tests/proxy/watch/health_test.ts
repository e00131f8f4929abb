import assert from "node:assert/strict";
import { livenessOf, readinessOf } from "../../../proxy/watch/health.ts";
import { LoopDelay } from "../../../proxy/watch/loop_delay.ts";

const NOW = 1_800_000_000_000;

function peer(name: string, persistentKeepalive: number, secondsAgo: number) {
  const lastHandshake = secondsAgo === Infinity ? 0 : NOW - secondsAgo * 1000;
  return { name, persistentKeepalive, lastHandshake, publicKey: new Uint8Array(32) };
}

Deno.test("ready is who listens and has a fresh handshake with every peer that is sent keepalives", () => {
  const ready = (...peers: ReturnType<typeof peer>[]) =>
    readinessOf({ port: 51820, peers, wallClock: NOW });
  assert.equal(ready().ok, true);
  assert.equal(ready(peer("a", 25, 100), peer("b", 0, Infinity)).ok, true);
  assert.deepEqual(ready(peer("a", 25, 200), peer("b", 25, 10), peer("c", 1, Infinity)), {
    ok: false,
    reason: "no handshake in 180 s with a, c",
    listenPort: 51820,
    peersWithKeepalive: 3,
    peersWithoutHandshake: 2,
  });
  const many = Array.from({ length: 12 }, (_, i) => peer(`p${i}`, 25, Infinity));
  assert.match(ready(...many).reason, /p9 and 2 more$/);
  assert.deepEqual(readinessOf({ port: 0, peers: [], wallClock: NOW }), {
    ok: false,
    reason: "does not listen",
    listenPort: null,
  });
});

Deno.test("a loop that is late for more than a second is unwell, while it is late as well", () => {
  assert.equal(livenessOf(3).ok, true);
  assert.deepEqual(livenessOf(1500), {
    ok: false,
    reason: "the event loop is 1500 ms late",
    loopDelayMs: 1500,
  });
  let now = 0;
  const loop = new LoopDelay(() => now);
  try {
    assert.equal(loop.current, 0);
    loop.start();
    now = 2500;
    assert.equal(loop.current, 2000);
  } finally {
    loop.stop();
  }
  assert.equal(loop.current, 0);
});

Deno.test("delays of the loop are counted", async () => {
  const loop = new LoopDelay();
  loop.start();
  try {
    const deadline = performance.now() + 30_000;
    while (loop.delays.count === 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } finally {
    loop.stop();
  }
  assert.ok(loop.delays.count > 0);
});
