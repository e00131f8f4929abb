import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, type FlowCarrier, FlowOwner } from "../../../proxy/flow/flow.ts";
import { Quotas } from "../../../proxy/flow/quotas.ts";
import { Shares } from "../../../proxy/flow/shares.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";

const ADDRESS = parseIpAddress("10.50.0.1")!;

/** A session of some flows: whose it is, to how many targets, and when it was last active. */
interface SessionPlan {
  readonly owner: number;
  readonly targets: number;
  readonly lastActivity: number;
}

/** Sessions in a table, each counted once with its owner. */
class Sessions {
  readonly table = new FlowTable();
  readonly shares = new Shares();
  readonly owners = [1, 2, 3].map((number) => new FlowOwner(() => `peer ${number}`));
  /** Places of those that have ended, in order. */
  readonly ended: number[] = [];

  constructor(plans: readonly SessionPlan[]) {
    plans.forEach(({ owner: number, targets, lastActivity }, place) => {
      const owner = this.owners[number]!;
      const flows = Array.from(
        { length: targets },
        () => new Flow("udp", owner, ADDRESS, 1, ADDRESS, 2, 0),
      );
      const end: FlowCarrier["end"] = (why) => {
        for (const flow of flows) this.table.remove(flow, why);
        this.shares.give(owner);
        this.ended.push(place);
      };
      const endFlow = () => assert.fail("a limit ends whole sessions");
      const carrier = { lastActivity, end, endFlow, inspect: (flow: Flow) => flow };
      for (const flow of flows) {
        flow.carrier = carrier;
        this.table.add(flow);
      }
      this.shares.take(owner);
    });
  }
}

/** How many end in all, and at most 256 in one go. */
function ended(
  trim: (quotas: Quotas) => Iterable<undefined>,
  { table }: { table: FlowTable },
): number {
  const quotas = new Quotas(table);
  let before = 0;
  for (const _ of trim(quotas)) {
    assert.ok(quotas.trimmed - before <= 256);
    before = quotas.trimmed;
  }
  assert.ok(quotas.trimmed - before <= 256);
  return quotas.trimmed;
}

const plans = fc.uniqueArray(
  fc.record({
    owner: fc.nat({ max: 2 }),
    targets: fc.integer({ min: 1, max: 3 }),
    lastActivity: fc.nat({ max: 1_000 }),
  }),
  { maxLength: 40, selector: ({ lastActivity }) => lastActivity },
);

Deno.test("above a limit of all the most idle one of who has most ends, each time", () => {
  fc.assert(fc.property(plans, fc.nat({ max: 40 }), (plans, limit) => {
    const subject = new Sessions(plans);
    const count = ended((quotas) => quotas.trimTotal("udp", subject.shares, () => limit), subject);
    const plain = new Sessions(plans);
    while (plain.shares.total > limit) {
      plain.table.idlest("udp", plain.shares.greediest()!)!.carrier!.end("revoked");
    }
    assert.deepEqual(subject.ended, plain.ended);
    assert.equal(count, Math.max(0, plans.length - limit));
  }));
});

Deno.test("above a limit of its own each owner loses its most idle ones, and nobody else any", () => {
  fc.assert(fc.property(
    plans,
    fc.array(fc.option(fc.nat({ max: 20 })), { minLength: 3, maxLength: 3 }),
    (plans, limits) => {
      const subject = new Sessions(plans);
      limits.forEach((limit, i) => subject.owners[i]!.maxUdpSessions = limit ?? Infinity);
      const kept = limits.flatMap((limit, owner) =>
        plans.map((plan, place) => ({ ...plan, place }))
          .filter((plan) => plan.owner === owner)
          .sort((a, b) => b.lastActivity - a.lastActivity)
          .slice(0, limit ?? Infinity)
          .map(({ place }) => place)
      );
      const count = ended((quotas) => quotas.trim("udp", subject.shares), subject);
      const left = plans.map((_, place) => place).filter((place) => !kept.includes(place));
      assert.deepEqual(subject.ended.toSorted((a, b) => a - b), left);
      assert.equal(count, left.length);
    },
  ));
});

Deno.test("thousands above a limit end some at a time, the most idle first, and what moves meanwhile stays", () => {
  const subject = new Sessions(
    Array.from({ length: 6_000 }, (_, i) => ({ owner: i % 2, targets: 1, lastActivity: i })),
  );
  let limit = 1_000;
  const trimming = new Quotas(subject.table).trimTotal("udp", subject.shares, () => limit);
  let steps = 0;
  const step = () => {
    const before = subject.ended.length;
    const { done } = trimming.next();
    assert.ok(subject.ended.length - before <= 256);
    steps++;
    return !done;
  };
  while (subject.ended.length < 2_000) assert.ok(step());
  const [idle] = subject.table.live;
  const place = idle!.carrier!.lastActivity;
  Object.assign(idle!.carrier!, { lastActivity: 10_000 });
  limit = 3_000; // it may be raised before the end
  while (step());
  assert.ok(steps > 10, `${steps} steps`);
  assert.equal(subject.shares.total, 3_000);
  const expected = [0, 1].flatMap((owner) =>
    Array.from({ length: 3_000 }, (_, i) => owner + 2 * i)
      .filter((one) => one !== place)
      .slice(0, 1_500)
  );
  assert.deepEqual(subject.ended.toSorted((a, b) => a - b), expected.toSorted((a, b) => a - b));
});
