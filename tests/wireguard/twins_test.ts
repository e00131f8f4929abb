/** A quick sample; `deno task test:twins` runs as many sequences as one has time for. */

import assert from "node:assert/strict";
import { TWINS } from "./twins.ts";

const SEQUENCES = 1000;

for (const [name, compare] of Object.entries(TWINS)) {
  Deno.test(`the ${name} and a plain twin agree on random sequences`, () => {
    const first = Math.floor(Math.random() * 2 ** 30); // the seed is in the message of a failure
    for (let seed = first; seed < first + SEQUENCES; seed++) {
      assert.ok(compare(seed) > 0, `seed ${seed} did nothing`);
    }
  });
}
