/**
 * A short slice of every fuzz target: the same few cases each time, so that a failure means a
 * change. `deno task fuzz` runs the rest.
 *
 * @module
 */

import assert from "node:assert/strict";
import { runTarget } from "./target.ts";
import { TARGETS } from "./targets.ts";
import { reached } from "./targets/wireguard.ts";

const CASES: Readonly<Record<string, number>> = {
  ipv4: 30,
  ipv6: 30,
  icmp: 15,
  udp: 15,
  tcp: 30,
  reassembly: 15,
  nat: 15,
  packets: 10,
  operations: 20,
  wireguard: 1,
  config: 10,
  forms: 5,
  dns: 30,
  "proxy-protocol": 30,
  framing: 20,
  "capture-filter": 20,
  enrolment: 10,
  relay: 20,
  streams: 20,
  certificates: 10,
  http: 20,
};

for (const target of TARGETS) {
  Deno.test(`fuzzing ${target.name} finds nothing: ${target.about}`, () => {
    const cases = CASES[target.name];
    assert.ok(
      cases !== undefined,
      `${target.name} has no number of cases above, and would not end`,
    );
    const { executions, finding } = runTarget(target, { seed: 1, cases });
    if (finding !== undefined) {
      throw new Error(`deno task fuzz ${target.name} --seed ${finding.seed} --cases 1`, {
        cause: finding.error,
      });
    }
    assert.ok(executions > 0);
  });
}

Deno.test("the fuzzer of WireGuard reaches what is behind mac1, mac2 and an index", () => {
  const sums = new Map<string, number>();
  for (let seed = 1; seed <= 8; seed++) {
    for (const [name, count] of reached(seed)) sums.set(name, (sums.get(name) ?? 0) + count);
  }
  const missed = [
    "droppedMalformed",
    "droppedUnknownIndex",
    "droppedExpired",
    "droppedReplayed",
    "droppedBadTag",
    "droppedInnerMalformed",
    "droppedInnerSource",
    "droppedBadMac",
    "droppedUnderLoad",
    "droppedRateLimited",
    "droppedBadInitiation",
    "droppedReplayedInitiation",
    "droppedBadResponse",
    "droppedBadCookie",
    "initiationsReceived",
    "responsesReceived",
    "cookieRepliesReceived",
    "packetsReceived",
    "keepalivesReceived",
  ].filter((name) => !(sums.get(name)! > 0));
  assert.deepEqual(missed, []);
});

Deno.test("a finding names the seed of its case, and ends the run", () => {
  const seen: number[] = [];
  const outcome = runTarget({
    name: "",
    about: "",
    run: (seed) => {
      seen.push(seed);
      if (seed === 7) throw new RangeError("found");
      return 3;
    },
  }, { seed: 5, cases: 10 });
  assert.deepEqual(seen, [5, 6, 7]);
  assert.equal(outcome.executions, 6);
  assert.equal(outcome.finding!.seed, 7);
  assert.equal(outcome.finding!.error.message, "found");
});
