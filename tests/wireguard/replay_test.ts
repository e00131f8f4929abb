import assert from "node:assert/strict";
import fc from "fast-check";
import { isRejectedCounter } from "../../wireguard/keypair.ts";
import { REPLAY_WINDOW, ReplayFilter } from "../../wireguard/replay.ts";

const TWO_32 = 0x1_0000_0000n;

/** The plain twin: every counter ever seen, in a set. */
class NaiveFilter {
  #seen = new Set<bigint>();
  #greatest = -1n;

  accept(counter: bigint): boolean {
    if (this.#greatest - counter > BigInt(REPLAY_WINDOW) || this.#seen.has(counter)) return false;
    this.#seen.add(counter);
    if (counter > this.#greatest) this.#greatest = counter;
    return true;
  }
}

function accept(filter: ReplayFilter, counter: bigint): boolean {
  const high = Number(counter / TWO_32);
  const low = Number(counter % TWO_32);
  if (!filter.isFresh(high, low)) return false;
  filter.mark(high, low);
  return true;
}

Deno.test("the filter says what a set of all counters says", () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: -40, max: 40 }) },
    { weight: 3, arbitrary: fc.integer({ min: -8300, max: 8300 }) },
    { weight: 1, arbitrary: fc.integer({ min: -8130, max: -8126 }) },
    { weight: 1, arbitrary: fc.integer({ min: 8155, max: 8195 }) },
    { weight: 1, arbitrary: fc.integer({ min: -100_000, max: 100_000 }) },
  );
  const start = fc.constantFrom(
    0n,
    5000n,
    TWO_32 - 100n,
    TWO_32 * 7n,
    2n ** 63n,
    2n ** 64n - 20000n,
  );
  fc.assert(
    fc.property(start, fc.array(step, { minLength: 50, maxLength: 300 }), (first, steps) => {
      const filter = new ReplayFilter();
      const twin = new NaiveFilter();
      let counter = first;
      for (const step of steps) {
        counter += BigInt(step);
        if (counter < 0n) counter = 0n;
        if (counter >= 2n ** 64n) counter = 2n ** 64n - 1n;
        assert.equal(accept(filter, counter), twin.accept(counter), `counter ${counter}`);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("8128 counters behind the greatest are usable, and no more", () => {
  const filter = new ReplayFilter();
  assert(accept(filter, 100_000n));
  assert(accept(filter, 100_000n - 8128n));
  assert(!accept(filter, 100_000n - 8129n));
  assert(!accept(filter, 100_000n - 8128n), "once");
});

Deno.test("the window moves by any distance without remembering what it should not", () => {
  for (
    const distance of [1n, 31n, 32n, 63n, 64n, 8127n, 8128n, 8160n, 8161n, 8191n, 8192n, 8193n]
  ) {
    for (const start of [0n, 31n, 32n, TWO_32 - 1n]) {
      const filter = new ReplayFilter();
      assert(accept(filter, start));
      assert(accept(filter, start + distance), `${start} + ${distance}`);
      for (let back = 1n; back <= 8128n && back < distance; back += 13n) {
        assert(accept(filter, start + distance - back), `${start} + ${distance} - ${back}`);
      }
    }
  }
});

Deno.test("asking whether a counter is fresh changes nothing", () => {
  const filter = new ReplayFilter();
  assert(filter.isFresh(0, 5));
  assert(filter.isFresh(0xffffffff, 0));
  assert(filter.isFresh(0, 5));
  filter.mark(0, 5);
  assert(!filter.isFresh(0, 5));
  assert(filter.isFresh(0, 4));
});

Deno.test("REJECT_AFTER_MESSAGES is 2^64 - 2^13 - 1, and 2^64 - 1 is beyond it", () => {
  const limit = 2n ** 64n - 2n ** 13n - 1n;
  const rejected = (counter: bigint) =>
    isRejectedCounter(Number(counter / TWO_32), Number(counter % TWO_32));
  assert.deepEqual(
    [limit - 1n, limit, limit + 1n, 2n ** 64n - 1n, 2n ** 60n, 0n].map(rejected),
    [false, true, true, true, false, false],
  );
});
