import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/address.ts";
import { NewReno } from "../../../netstack/tcp/congestion.ts";
import { Cubic } from "../../../netstack/tcp/cubic.ts";
import { Ensemble, Ensembles, type Member } from "../../../netstack/tcp/ensemble.ts";
import { RateReduction } from "../../../netstack/tcp/prr.ts";

const MSS = 1000;

Deno.test("an ensemble's share is the mean of what its members have in flight, and idle members take no part (RFC 9040 §7)", () => {
  const ensemble = new Ensemble();
  assert.equal(ensemble.share, 0);
  for (const claim of [400, 100, 0, 0, 40]) ensemble.add({ claim, ensembleIndex: -1 });
  assert.equal(ensemble.share, 180);
});

Deno.test("however many members an ensemble has, few are looked at", () => {
  const ensemble = new Ensemble();
  let asked = 0;
  for (let i = 0; i < 10_000; i++) {
    ensemble.add({
      ensembleIndex: -1,
      get claim() {
        asked++;
        return 7;
      },
    });
  }
  assert.equal(ensemble.share, 7);
  assert.equal(asked, 256);
});

Deno.test("each remote address has its ensemble, which goes with its last member", () => {
  const ensembles = new Ensembles();
  const [a, b] = [IpAddress.v4(10, 0, 0, 1), IpAddress.v4(10, 0, 0, 2)];
  const [first, second, third] = [10, 30, 500].map((claim) => ({ claim, ensembleIndex: -1 })) as [
    Member,
    Member,
    Member,
  ];
  const one = ensembles.join(a, first);
  assert.equal(ensembles.join(a, second), one);
  const other = ensembles.join(b, third);
  // Who is alone has nothing to share.
  assert.deepEqual([one.share, other.share, ensembles.size], [20, 0, 2]);
  ensembles.leave(a, one, first);
  assert.deepEqual([one.share, ensembles.size], [0, 2]);
  ensembles.leave(a, one, second);
  ensembles.leave(b, other, third);
  assert.equal(ensembles.size, 0);
});

Deno.test("a share takes the place of the window that is reduced, and undo gives back the own one", () => {
  for (const [control, beta] of [[new NewReno(MSS), 0.5], [new Cubic(MSS), 0.7]] as const) {
    control.setWindow(400 * MSS);
    control.lost(100 * MSS, 100 * MSS);
    control.recovered();
    assert.equal(control.window, beta * 100 * MSS);
    control.undo();
    assert.equal(control.window, 400 * MSS);
  }
});

Deno.test("proportional rate reduction: below the threshold it goes up by a segment per ACK that tells of no further loss, else not (RFC 9937 §6.2)", () => {
  const reduction = new RateReduction();
  reduction.start(20 * MSS);
  const pipe = 4 * MSS;
  const threshold = 10 * MSS;
  // Half of a window of 20 is lost, and what was sent is all that was delivered.
  reduction.sent(2 * MSS);
  assert.equal(reduction.window(2 * MSS, pipe, threshold, MSS, false), pipe + 2 * MSS);
  reduction.sent(2 * MSS);
  assert.equal(reduction.window(2 * MSS, pipe, threshold, MSS, true), pipe + 3 * MSS);
  // Never past the threshold.
  assert.equal(reduction.window(9 * MSS, pipe, threshold, MSS, true), threshold);
});

Deno.test("proportional rate reduction: above the threshold it sends in proportion to what is delivered (RFC 9937 §6.2)", () => {
  const reduction = new RateReduction();
  reduction.start(20 * MSS);
  let pipe = 19 * MSS;
  let sent = 0;
  for (let delivered = 1; delivered <= 8; delivered++) {
    const room = reduction.window(MSS, pipe -= MSS, 10 * MSS, MSS, false) - pipe;
    for (let left = room; left >= MSS; left -= MSS) {
      reduction.sent(MSS);
      pipe += MSS;
      sent++;
    }
    assert.equal(sent, Math.floor(delivered / 2));
  }
});
