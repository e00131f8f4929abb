import assert from "node:assert/strict";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { Shares } from "../../../proxy/flow/shares.ts";

const [A, B, C] = ["a", "b", "c"].map((name) => new FlowOwner(() => name)) as [
  FlowOwner,
  FlowOwner,
  FlowOwner,
];

function shares(counts: readonly (readonly [FlowOwner, number])[]): Shares {
  const subject = new Shares();
  for (const [owner, count] of counts) for (let i = 0; i < count; i++) subject.take(owner);
  return subject;
}

Deno.test("the owner with most gives way to an owner below its share, and to nobody else", () => {
  const subject = shares([[A, 50]]);
  assert.equal(subject.donor(A, 50), undefined, "alone it has all");
  assert.equal(subject.donor(B, 50), A);
  for (let i = 0; i < 25; i++) {
    assert.equal(subject.donor(B, 50), A, `${i}`);
    subject.give(A);
    subject.take(B);
  }
  assert.equal(subject.donor(B, 50), undefined, "it has its half");
  assert.equal(subject.donor(A, 50), undefined);
  assert.equal(subject.donor(C, 50), A, "a third one's share is smaller");
});

Deno.test("what ended does not count", () => {
  const subject = shares([[A, 3], [B, 1]]);
  for (let i = 0; i < 3; i++) subject.give(A);
  assert.deepEqual([subject.total, subject.of(A), subject.of(B)], [1, 0, 1]);
  assert.equal(subject.greediest(), B);
  subject.give(B);
  assert.deepEqual([subject.total, subject.greediest()], [0, undefined]);
});
