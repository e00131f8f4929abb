import assert from "node:assert/strict";
import fc from "fast-check";
import { parseIpAddress } from "../../../proxy/address.ts";
import { Flow, type FlowCarrier, FlowOwner } from "../../../proxy/flow/flow.ts";
import { FlowReview, REVIEW_STEP } from "../../../proxy/flow/review.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";
import { admission } from "../forward/lab.ts";

const ADDRESS = parseIpAddress("10.50.0.1")!;
const OWNER = new FlowOwner(() => "laptop");

/** A flow in `table` that ends when it is told to. */
function begin(table: FlowTable): Flow {
  const flow = new Flow("udp", OWNER, ADDRESS, 1, ADDRESS, 2, 0);
  flow.dialled = ADDRESS;
  flow.carrier = {
    lastActivity: 0,
    inspect: (flow: Flow) => flow,
    endFlow: (flow, why) => table.remove(flow, why),
    end: (why) => table.remove(flow, why),
  } satisfies FlowCarrier;
  table.add(flow);
  return flow;
}

const happenings = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("begin" as const), count: fc.integer({ min: 1, max: 700 }) }),
    fc.record({ kind: fc.constant("end" as const), count: fc.integer({ min: 1, max: 400 }) }),
    fc.record({ kind: fc.constant("change" as const), count: fc.constant(1) }),
    fc.record({ kind: fc.constant("step" as const), count: fc.integer({ min: 1, max: 3 }) }),
  ),
  { maxLength: 40 },
);

Deno.test("whatever changes while flows are reviewed, begin and end: after it all are as the last change wants, a few at a time", () => {
  fc.assert(fc.property(happenings, (all) => {
    const table = new FlowTable();
    let generation = 0;
    let finished = 0;
    let looked = 0;
    let refused = 0;
    /** By what each was decided last, as it began or was looked at. */
    const decidedBy = new Map<Flow, number>();
    // Each generation is against some others.
    const isAllowed = ({ sequence }: Flow) => sequence % 7 !== generation % 7;
    const review = new FlowReview(table, {
      look(flow) {
        looked++;
        decidedBy.set(flow, generation);
        if (!isAllowed(flow)) refused++;
        return isAllowed(flow);
      },
      finished: () => (finished++, 0),
    });
    const counted = (step: () => number) => {
      looked = refused = 0;
      assert.equal(step(), refused, "it says how many have ended");
      assert.ok(looked <= REVIEW_STEP, `${looked} in one step`);
    };
    for (const { kind, count } of all) {
      for (let i = 0; i < count; i++) {
        if (kind === "begin") {
          const flow = begin(table);
          if (isAllowed(flow)) decidedBy.set(flow, generation);
          else table.remove(flow, "revoked");
        } else if (kind === "end") {
          const [flow] = table.live;
          if (flow !== undefined) table.remove(flow, "closed");
        } else if (kind === "change") {
          generation++;
          counted(() => review.begin());
        } else if (review.isUnderWay) counted(() => review.step());
      }
    }
    while (review.isUnderWay) counted(() => review.step());
    for (const flow of table.live) {
      assert.equal(decidedBy.get(flow), generation);
      assert.ok(isAllowed(flow));
    }
    assert.equal(finished > 0, generation > 0);
  }));
});

Deno.test("changes that never stop do not keep a review from its end", () => {
  const table = new FlowTable();
  for (let i = 0; i < 4 * REVIEW_STEP; i++) begin(table);
  const looked = new Set<Flow>();
  let finished = 0;
  const review = new FlowReview(table, {
    look: (flow) => (looked.add(flow), true),
    finished: () => (finished++, 0),
  });
  for (let i = 0; i < 5; i++) review.begin();
  assert.equal(looked.size, table.size);
  assert.equal(finished, 1);
  assert.ok(review.isUnderWay, "what had its turn before the last change has it once more");
});

Deno.test("a review of few flows is over at once, of many it goes on, and limits come at its end", () => {
  const table = new FlowTable();
  const isHeld = { now: true };
  const subject = admission({ table, isHeld: () => isHeld.now });
  const add = (count: number) => {
    for (let i = 0; i < count; i++) {
      begin(table);
      subject.sessions.take(OWNER);
    }
  };
  table.observe({ ended: ({ owner }) => subject.sessions.give(owner) });
  add(REVIEW_STEP - 1);
  assert.deepEqual([subject.review(), subject.isReviewing], [0, false]);
  OWNER.maxUdpSessions = 100;
  try {
    assert.equal(subject.review(), REVIEW_STEP - 1 - 100);
    OWNER.maxUdpSessions = Infinity;
    add(2 * REVIEW_STEP);
    OWNER.maxUdpSessions = 90;
    assert.deepEqual([subject.review(), subject.isReviewing], [0, true]);
    assert.deepEqual([subject.reviewOn(), subject.isReviewing], [0, true]);
    let ended = 0;
    while (subject.isReviewing) {
      const count = subject.reviewOn();
      assert.ok(count <= 256, `${count} in one step`);
      ended += count;
    }
    assert.deepEqual([ended, table.size], [2 * REVIEW_STEP + 10, 90]);
  } finally {
    OWNER.maxUdpSessions = Infinity;
  }
  isHeld.now = false;
  assert.deepEqual([subject.review(), table.size], [90, 0]);
});
