import assert from "node:assert/strict";
import { Liveness } from "../../../../proxy/gateway/twins/liveness.ts";
import { nextTurn } from "../../../../proxy/gateway/twins/turns.ts";

/** Runs a peer's clock; `isThere` says whether a question asked now is answered. */
function run(liveness: Liveness, from: number, to: number, isThere: (now: number) => boolean) {
  let [now, heardAt, asked] = [from, from > 0 ? -1 : 0, 0];
  while (now < to) {
    if (liveness.look(heardAt, now)) {
      asked++;
      if (isThere(now)) {
        heardAt = now + 20;
        liveness.answered();
      }
    }
    now = Math.max(now + 1, liveness.dueAt);
  }
  return asked;
}

Deno.test("a peer that says nothing is asked once a second, and costs no more", () => {
  const liveness = new Liveness(-1);
  const asked = run(liveness, 0, 600_000, () => true);
  assert.equal(liveness.standing, "alive");
  assert.ok(asked > 450 && asked <= 601, `${asked}`);
});

Deno.test("one that answered is missed 3.5 s after it was last heard, and asked rarely from then on", () => {
  const liveness = new Liveness(-1);
  run(liveness, 0, 10_000, () => true);
  run(liveness, 10_000, 15_000, () => false);
  assert.equal(liveness.standing, "lost");
  const asked = run(liveness, 15_000, 3_600_000, () => false);
  assert.ok(asked < 25, `${asked} in an hour`);
});

Deno.test("a process that slept misses nobody before it has asked", () => {
  const liveness = new Liveness(-1);
  run(liveness, 0, 10_000, () => true);
  assert.equal(liveness.look(10_000, 60_000), true, "it is asked");
  assert.equal(liveness.standing, "alive");
});

Deno.test("one that is not heard after the start is waited for for 5 s", () => {
  const liveness = new Liveness(0);
  for (let now = 0; now < 5_000; now += 200) liveness.look(-1, now);
  assert.equal(liveness.standing, "awaited");
  liveness.look(-1, 5_000);
  assert.equal(liveness.standing, "lost");
});

Deno.test("the turn is the first one's that is alive; without any it stays", () => {
  const one = (standing: "alive" | "lost" | "awaited", stable = false) => ({
    standing,
    isStable: () => stable,
  });
  const cases: [Parameters<typeof nextTurn>[0], number, ReturnType<typeof nextTurn>][] = [
    [[one("alive", true), one("alive")], 0, undefined],
    [[one("lost"), one("alive")], 0, { to: 1, why: "lost" }],
    [[one("lost"), one("lost"), one("alive")], 0, { to: 2, why: "lost" }],
    [[one("lost"), one("lost")], 0, undefined],
    [[one("alive"), one("lost")], 1, { to: 0, why: "lost" }],
    [[one("alive", true), one("alive", true)], 1, { to: 0, why: "back" }],
    [[one("alive"), one("alive", true)], 1, undefined],
    [[one("awaited"), one("alive", true)], 0, undefined],
    [[one("lost"), one("alive", true), one("alive")], 2, { to: 1, why: "back" }],
  ];
  for (const [candidates, holder, expected] of cases) {
    assert.deepEqual(nextTurn(candidates, holder, 0), expected);
  }
});

Deno.test("who sends without a pause is asked until it answers: the first question may come before the session is there", () => {
  const liveness = new Liveness(0);
  let asked = 0;
  for (let now = 0; now <= 10_000; now += 50) {
    if (now >= liveness.dueAt && liveness.look(now, now)) asked++;
    if (asked === 3) liveness.answered();
  }
  assert.equal(asked, 3);
  // It has answered: silence is soon enough.
  let lostAt = 0;
  for (let now = 10_050; lostAt === 0 && now < 60_000; now += 50) {
    if (now >= liveness.dueAt) liveness.look(10_000, now);
    if (liveness.standing === "lost") lostAt = now;
  }
  assert.ok(lostAt - 10_000 < 5_000, `${lostAt}`);
});
