/** The choice between UDP and fallbacks, in simulated time. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { PathChooser } from "../../../../proxy/gateway/paths/chooser.ts";
import { CHOOSER_SETTINGS } from "../../../../proxy/gateway/paths/settings.ts";
import { forSeeds } from "../../../sim/seeds.ts";
import { World } from "./world.ts";

const HOUR = 3_600_000;

/** With a session by UDP. */
function connected(seed = 1, fallbacks = 1): World {
  const world = new World(seed, fallbacks);
  world.request();
  world.run(5_000);
  assert.ok(world.session && world.hubAt === 0);
  return world;
}

Deno.test("UDP that works is used, and no fallback opened", () => {
  const world = connected();
  world.download();
  world.run(60_000);
  assert.equal(world.dials, 0);
  assert.equal(world.chooser.current, 0);
  assert.ok(world.questions <= 61, `${world.questions} questions`);
  assert.equal(world.handshakes, 1);
});

Deno.test("an idle tunnel asks nothing, and sets no timer", () => {
  const world = connected();
  world.run(5_000);
  const { questions } = world;
  world.set(0, false);
  assert.equal(world.chooser.pollTimeout(), Infinity);
  world.run(HOUR);
  assert.deepEqual([world.questions, world.dials], [questions, 0]);
});

Deno.test("a request every two seconds that is answered costs a question each at most", () => {
  const world = connected();
  world.questions = 0;
  world.requests(2_000, 60_000);
  world.run(60_000);
  assert.ok(world.questions <= 31, `${world.questions}`);
  assert.equal(world.dials, 0);
});

Deno.test("UDP never works: two seconds after the first packet the fallback is tried, and used", () => {
  const world = new World(1);
  world.set(0, false);
  world.request();
  world.run(1_450);
  assert.equal(world.dials, 0);
  world.run(450);
  assert.equal(world.state(1), "open");
  assert.deepEqual(
    [world.hubAt, world.switches.length],
    [-1, 0],
    "connected, and nothing sent by it",
  );
  world.run(300);
  assert.deepEqual(world.last, [1, "unanswered"]);
  assert.equal(world.hubAt, 1);
  assert.ok(world.session);
});

Deno.test("UDP is silent for not quite two seconds: the fallback is connected, not used, and closed again", () => {
  forSeeds(20, (seed) => {
    const world = connected(seed);
    world.requests(100, 200_000);
    world.run(3_000 + 37 * seed);
    world.set(0, false);
    world.run(1_750);
    world.set(0, true);
    world.run(1_000);
    assert.deepEqual([world.dials, world.state(1), world.switches.length], [1, "open", 0]);
    world.run(31_000);
    assert.deepEqual([world.dials, world.state(1), world.switches.length], [1, "closed", 0]);
    assert.equal(world.hubAt, 0);
  });
});

Deno.test("UDP blocked during a download: the fallback within three seconds, and back without a stall", () => {
  forSeeds(20, (seed) => {
    const world = connected(seed);
    world.download();
    world.run(5_000 + seed * 37);
    assert.ok(world.stall < 100);
    world.set(0, false);
    world.run(10_000);
    assert.deepEqual(world.last, [1, "unanswered"]);
    assert.ok(world.stall < 4_000, `${world.stall} ms`);
    assert.equal(world.switches.length, 1);
    world.set(0, true);
    world.stall = 0;
    world.run(45_000);
    assert.deepEqual(world.last, [0, "returned"]);
    assert.equal(world.hubAt, 0);
    assert.ok(world.stall < 100, `${world.stall} ms`);
    world.run(30_000);
    assert.equal(world.state(1), "closed", "after a while");
    assert.equal(world.switches.length, 2);
  });
});

for (const way of ["up", "down"] as const) {
  Deno.test(`UDP blocked in one direction (${way}) moves both sides, and questions by it move nobody back`, () => {
    forSeeds(20, (seed) => {
      const world = connected(seed);
      world.download();
      world.run(3_000 + seed * 61);
      world.lines[0]![way] = false;
      world.run(20_000);
      assert.deepEqual(world.last, [1, "unanswered"]);
      assert.ok(world.stall < 7_000, `${world.stall} ms`);
      world.stall = 0;
      world.run(120_000);
      assert.equal(world.hubAt, 1);
      assert.equal(world.switches.length, 1);
      assert.ok(world.stall < 100, `${world.stall} ms`);
    });
  });
}

Deno.test("a lossy line is not left while anything passes", () => {
  forSeeds(10, (seed) => {
    for (const [loss, every] of [[0.1, 100], [0.2, 100], [0.3, 100], [0.2, 1_000]] as const) {
      const world = connected(seed);
      world.lines[0]!.loss = loss;
      world.requests(every, 600_000);
      world.run(600_000);
      assert.ok(world.switches.length <= 2, `loss ${loss}: ${world.switches.length} switches`);
      assert.equal(world.chooser.current, 0);
    }
  });
});

Deno.test("a line that comes and goes is followed less and less", () => {
  const world = connected();
  world.requests(200, HOUR);
  for (let at = 0; at < HOUR; at += 40_000) {
    world.after(at, () => world.set(0, false));
    world.after(at + 20_000, () => world.set(0, true));
  }
  world.run(HOUR / 4);
  const early = world.switches.length;
  world.run(HOUR * 3 / 4);
  const late = (world.switches.length - early) / 3;
  assert.ok(early <= 20, `${early} switches in the first quarter`);
  assert.ok(late <= 10, `${late} in each later one`);
});

Deno.test("the peer is down altogether: the fallback is dialled less and less, and given up", () => {
  const world = connected();
  world.isHubUp = false;
  world.session = false;
  world.request();
  world.run(60_000);
  assert.ok(world.dials >= 2 && world.dials < 12, `${world.dials} dials`);
  assert.ok(world.handshakes < 25, `${world.handshakes} handshakes`);
  world.run(120_000);
  assert.equal(world.state(1), "closed");
  assert.equal(world.chooser.current, 0);
  const { dials } = world;
  world.run(HOUR);
  assert.equal(world.dials, dials, "nobody asks for it");
  assert.equal(world.chooser.pollTimeout(), Infinity);
  world.isHubUp = true;
  world.request();
  world.run(1_000);
  assert.ok(world.session && world.chooser.current === 0);
});

Deno.test("the hub is restarted: a handshake by UDP, and no fallback", () => {
  forSeeds(20, (seed) => {
    const world = connected(seed);
    world.requests(50 + seed, 20_000);
    world.run(3_000);
    world.restartHub();
    world.run(10_000);
    assert.equal(world.hubAt, 0);
    assert.deepEqual([world.switches.length, world.dials], [0, 0]);
  });
});

Deno.test("the hub is restarted while a fallback is used: back by whatever answers first", () => {
  const world = connected();
  world.download();
  world.run(1_000);
  world.set(0, false);
  world.run(10_000);
  assert.equal(world.chooser.current, 1);
  world.restartHub();
  world.run(10_000);
  assert.equal(world.hubAt, 1);
  assert.equal(world.chooser.current, 1);
});

Deno.test("fallbacks are tried in their order, each with a head start", () => {
  const world = connected(1, 2);
  for (const path of [0, 1]) world.set(path, false);
  world.requests(100, 60_000);
  world.run(3_900);
  assert.deepEqual([world.state(1), world.state(2)], ["connecting", "closed"]);
  world.run(1_500);
  assert.deepEqual(world.last, [2, "unanswered"]);
  world.run(40_000);
  assert.equal(world.state(1), "closed", "it was not needed");
  world.set(1, true);
  world.set(2, false);
  world.requests(100, 60_000);
  world.run(30_000);
  assert.equal(world.chooser.current, 1);
});

Deno.test("an answer to somebody else's question does not say that the peer knows where to send", () => {
  const asked: { id: number; claims: boolean }[] = [];
  const view = {
    unansweredSince: 0,
    receivedBytes: 0,
    hasSession: () => true,
    awaitTraffic: () => {},
  };
  const chooser = new PathChooser(1, view, {
    probe: (path, id, claims) => {
      if (path === 1) asked.push({ id, claims });
      return true;
    },
    initiate: () => {},
    open: () => {},
    close: () => {},
    use: () => {},
    udpFailed: () => {},
  }, CHOOSER_SETTINGS);
  let now = 0;
  const run = (ms: number) => {
    for (const end = now + ms; now < end; now += 10) {
      if (chooser.pollTimeout() <= now) chooser.handleTimeout(now);
    }
  };
  chooser.trafficBegan(false, now);
  run(3_000);
  chooser.carrierChanged(1, "open", now);
  chooser.heard(1, true, now); // the answer to the handshake
  assert.equal(chooser.current, 1);
  run(100);
  const [first] = asked.splice(0);
  assert.equal(first!.claims, true);
  for (const id of [1, 40_000, 65_535]) chooser.probeAnswered(1, id, now);
  run(1_500);
  assert.ok(
    asked.length > 0 && asked.splice(0).every(({ claims }) => claims),
    "it goes on to claim",
  );
  chooser.probeAnswered(1, first!.id, now);
  run(20_000);
  assert.ok(asked.length > 0 && asked.every(({ claims }) => !claims), "and has been heard");
});

Deno.test("a path that is only slow is not left while packets come", () => {
  const world = connected();
  world.lines[0]!.delay = 700; // and answers after 1.4 s
  world.requests(100, 60_000);
  world.run(60_000);
  assert.equal(world.switches.length, 0);
});

Deno.test("another implementation answers no probes: UDP is left for silence alone", () => {
  const world = new World(1);
  world.answersProbes = false;
  world.requests(100, 120_000);
  world.run(60_000);
  assert.deepEqual([world.switches.length, world.dials], [0, 0]);
  assert.ok(world.questions < 80, `${world.questions}`);
  world.set(0, false);
  world.run(5_000);
  assert.deepEqual(world.last, [1, "unanswered"]);
});

Deno.test("an address that is not found: the fallback is used, and UDP once it is known and answers", () => {
  const world = new World(1);
  world.chooser.udpChanged(false, 0);
  assert.deepEqual(world.last, [1, "unknown"]);
  world.run(10_000);
  assert.equal(world.dials, 0, "there is nothing to send yet");
  world.request();
  world.run(2_000);
  assert.ok(world.session && world.hubAt === 1);
  world.requests(100, 60_000);
  world.run(5_000);
  world.chooser.udpChanged(true, world.now);
  world.run(10_000);
  assert.deepEqual(world.last, [0, "returned"]);
});

Deno.test("whatever paths do: no spin, one path in use, and the one that works in the end", () => {
  const step = fc.record({
    after: fc.integer({ min: 0, max: 8_000 }),
    path: fc.nat(2),
    what: fc.constantFrom<"up" | "down" | "both" | "restart" | "loss">(
      ...["up", "down", "both", "restart", "loss"] as const,
    ),
    isUp: fc.boolean(),
  });
  const steps = fc.array(step, { maxLength: 12 });
  fc.assert(
    fc.property(fc.nat(), steps, fc.nat(2), (seed, steps, works) => {
      const world = new World(seed, 2);
      world.requests(150, 200_000);
      for (const { after, path, what, isUp } of steps) {
        world.run(after);
        if (what === "restart") world.restartHub();
        else if (what === "loss") world.lines[0]!.loss = isUp ? 0 : 0.5;
        else if (what === "both") world.set(path, isUp);
        else world.lines[path]![what] = isUp;
      }
      world.lines[0]!.loss = 0;
      for (const path of [0, 1, 2]) world.set(path, path === works);
      world.requests(150, 200_000);
      world.run(150_000);
      assert.equal(world.chooser.current, works);
      assert.equal(world.hubAt, works);
      assert.ok(world.session && world.hubSession);
      if (works > 0) return;
      world.run(60_000);
      assert.deepEqual([world.state(1), world.state(2)], ["closed", "closed"]);
    }),
    { numRuns: 150 },
  );
});
